"""The use cases, without HTTP, Redis or Celery; each module declares Protocols for the parts that it calls."""
