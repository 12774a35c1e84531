"""The OpenAPI document: built from the routes, the structs and the problem table."""
