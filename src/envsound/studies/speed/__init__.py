"""The study: speed."""
