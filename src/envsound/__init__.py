"""Can SoundStorm's parallel masked decoding, made for speech, generate environmental sound?"""

from envsound.base.torchaudio_import import install

__version__ = "0.1.0"

install()  # so that `import encodec` works after `import envsound`; imports nothing by itself


def classify(path, top: int = 5):
    """Return the `top` most probable of ten classes of sound in a recording; see `evaluation.classify`."""
    from envsound.evaluation.classify import classify as classify_file  # torch is imported when it is needed

    return classify_file(path, top)
