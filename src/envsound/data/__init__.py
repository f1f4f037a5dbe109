"""Anybody's audio as clips with folds."""
