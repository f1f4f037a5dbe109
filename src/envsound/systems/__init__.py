"""Generators of sound."""

SYSTEMS = {"soundstorm": "envsound.systems.soundstorm.system:SoundStormRecipe"}  # imported when asked for
