"""A shop that runs its slow work with Celery: an app from before task-status."""
