"""Who sends a request: keys, task tokens, rate limits, and the rule for a service without keys."""
