"""How results look: figures, tables, players."""
