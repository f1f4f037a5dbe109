"""The study: codec report."""
