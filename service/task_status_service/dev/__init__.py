"""Development: everything in one terminal."""
