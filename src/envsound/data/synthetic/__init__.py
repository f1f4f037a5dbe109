"""Recordings that the project makes itself."""
