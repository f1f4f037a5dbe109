"""Generators of sound."""

SYSTEMS = {  # imported when asked for
    "soundstorm": "envsound.systems.soundstorm.system:SoundStormRecipe",
    "montage": "envsound.systems.montage:MontageRecipe",
    "textures": "envsound.systems.textures.system:TextureRecipe",
}
