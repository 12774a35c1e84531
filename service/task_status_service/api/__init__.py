"""The HTTP layer: routes, requests and responses. It imports neither Redis nor Celery."""
