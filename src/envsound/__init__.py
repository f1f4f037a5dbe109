"""Can SoundStorm's parallel masked decoding, made for speech, generate environmental sound?"""

from envsound.base.torchaudio_import import install

__version__ = "0.1.0"

install()  # so that `import encodec` works after `import envsound`; imports nothing by itself

# What needs torch imports it when it is called: `import envsound` stays light.


def classify(path, top: int = 5):
    """Return the `top` most probable of ten classes of sound in a recording; see `evaluation.classify`."""
    from envsound.evaluation.classify import classify as classify_file

    return classify_file(path, top)


def load_generator(device: str = "auto"):
    """Return the generator that ships, whose `sample("rain", seconds=5, count=4)` gives sounds.

    See `systems.soundstorm.generator`.
    """
    from envsound.systems.soundstorm import generator

    return generator.load_generator(device=device)


def load_codec(name: str = "patches", device: str = "auto"):
    """Return a codec by its name, or from its file: `encode` and `decode` are its methods; see `codec.load_codec`."""
    from envsound import codec

    return codec.load_codec(name, device=device)
