"""What takes a toolchain of its own: clients in Go and Java."""
