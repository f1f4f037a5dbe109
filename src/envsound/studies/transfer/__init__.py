"""The study: transfer."""
