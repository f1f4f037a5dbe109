"""Can SoundStorm's parallel masked decoding, made for speech, generate environmental sound?"""

from envsound.torchaudio_import import install

__version__ = "0.1.0"

install()  # so that `import encodec` works after `import envsound`; imports nothing by itself
