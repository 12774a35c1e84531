"""The HTTP side: submit Celery tasks, and tell the truth about them."""
