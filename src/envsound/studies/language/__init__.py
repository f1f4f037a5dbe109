"""Codes written one after the other, beside codes guessed at once, and after a text: what a language model is worth."""
