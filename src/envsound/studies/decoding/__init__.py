"""The study: decoding."""
