"""Use cases: what the service does with tasks, without HTTP, Redis or Celery."""
