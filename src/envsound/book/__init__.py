"""Stages and builds the book."""

from envsound.book.staging import BuildError, build, stage, substitutions

__all__ = ["BuildError", "build", "stage", "substitutions"]
