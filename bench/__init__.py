"""The benchmark: this service compared with its alternatives (`make bench`)."""
