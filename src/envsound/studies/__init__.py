"""Studies: each a folder with what it computes, its figures and its page."""
