"""Acoustic metrics, tests and summaries."""
