"""The study: the ladder, what each choice of the recipe is worth."""
