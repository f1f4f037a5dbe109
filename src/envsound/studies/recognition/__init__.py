"""The study: recognition."""
