"""Three published studies of other generators: what their printed figures say of each other."""
