"""Use cases of tasks, without HTTP, Redis or Celery; each declares Protocols of the parts that it calls."""
