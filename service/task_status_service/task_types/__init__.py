"""Task types: the catalog that workers announce, and the check of arguments against it."""
