"""Clients in Go and Java, which need their own toolchains."""
