"""Generators of sound."""

SYSTEMS = {  # imported when asked for
    "soundstorm": "envsound.systems.soundstorm.system:SoundStormRecipe",
    "montage": "envsound.systems.montage:MontageRecipe",
    "language": "envsound.systems.language.system:LanguageRecipe",
    "textures": "envsound.systems.textures.system:TextureRecipe",
}
