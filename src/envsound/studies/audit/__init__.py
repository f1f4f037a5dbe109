"""The study: audit."""
