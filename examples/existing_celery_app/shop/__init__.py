"""A shop whose slow work Celery does: an app as it was there before."""
