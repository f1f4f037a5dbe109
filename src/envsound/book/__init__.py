"""Stages and builds the book."""
