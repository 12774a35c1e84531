"""Authentication: keys, task tokens, rate limits, and the rule for a server without keys."""
