"""The benchmark: this service beside what one would use instead. `make bench` runs it."""
