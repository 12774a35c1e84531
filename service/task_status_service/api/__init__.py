"""HTTP in, HTTP out: no Redis, no Celery."""
