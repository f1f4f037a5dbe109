"""The study: listening."""
