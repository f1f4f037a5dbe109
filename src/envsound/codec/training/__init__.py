"""Codecs that learn."""
