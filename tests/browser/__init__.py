"""The pages of the service and of the example, in a real Chromium."""
