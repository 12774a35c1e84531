"""Access: callers, API keys, task tokens and rate limits, without HTTP."""
