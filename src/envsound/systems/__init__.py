"""Generators of sound."""
