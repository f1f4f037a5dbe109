"""Which recording a clip was cut from, where the file names of a data set tell it."""

import re
from pathlib import Path

CUT_FROM = (  # recordings have numbers: names of the same form, such as 1-s0x4-A-0 of synthetic clips, tell of none
    re.compile(r"\d+-(\d+)-[A-Z]+(?:-\d+)?"),  # ESC-50 (Piczak 2015): fold-recording-take-class, or without the class
    re.compile(r"(\d+)-\d+-\d+-\d+"),  # UrbanSound8K (Salamon et al. 2014): recording-class-occurrence-slice
)


def recording_of(filename: str | Path) -> str:
    """Return the number of the recording that a clip was cut from, by ESC-50's and UrbanSound8K's names; else "".

    filename: with or without its folder and suffix. Clips of one recording resemble each other: they are right or wrong
    together, and one heard in training tells of the other.
    """
    stem = re.sub(r"\.[A-Za-z]\w*$", "", Path(filename).name)
    found = next((match for pattern in CUT_FROM if (match := pattern.fullmatch(stem))), None)
    return found[1] if found else ""
