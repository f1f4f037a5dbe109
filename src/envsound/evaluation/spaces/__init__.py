"""Embeddings and the distances in them."""
