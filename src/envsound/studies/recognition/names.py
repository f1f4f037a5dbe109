"""Names of test clips, and of what they were cut from."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from envsound.data.names import recording_of


def clip_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file: its own without the suffix, after its folder's where two files are called alike."""
    stems = Counter(file.stem for file in files)
    return [file.stem if stems[file.stem] == 1 else f"{file.parent.name}/{file.stem}" for file in files]


def source_of(clip: str) -> str:
    """Return the recording that a clip was cut from, where its name tells it (`recording_names`); else the clip."""
    return recording_of(clip) or clip
