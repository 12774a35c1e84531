"""The gates that hold the OpenAPI document to the truth: what was promised before, other tools, the running service."""
