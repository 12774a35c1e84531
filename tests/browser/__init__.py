"""The pages as a person sees them: a real Chromium, the real service."""
