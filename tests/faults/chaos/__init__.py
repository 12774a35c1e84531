"""The chaos test: a tenant and a broken worker attack in every known way, while another tenant checks its answers."""
