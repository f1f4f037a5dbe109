"""A stand-in for espeak-ng: a program that writes a hum as long as its text would take, and notes every call."""

import sys
from pathlib import Path

SCRIPT = """#!{python} -ES
import array, math, os, sys, wave
here = os.path.dirname(os.path.abspath(__file__))
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("eSpeak NG text-to-speech: {version}  Data at: /usr/lib/espeak-ng-data")
    sys.exit()
options = dict(zip(arguments[:-2:2], arguments[1:-2:2]))
assert arguments[-2] == "--" and sorted(options) == ["-p", "-s", "-v", "-w"], arguments
with open(os.path.join(here, "calls.txt"), "a") as log:
    log.write("|".join([options["-v"], options["-s"], options["-p"], arguments[-1]]) + "\\n")
if "{broken}":
    print("Error: The specified espeak-ng voice does not exist.", file=sys.stderr)
    sys.exit(1)
n = int(22050 * {slower} * len(arguments[-1].split()) * 60 / int(options["-s"]))
hz = 80 + 2 * int(options["-p"])
tenth = array.array("h", (int(9000 * {level} * math.sin(2 * math.pi * hz * i / 22050)) for i in range(2205)))
hum = (tenth * (n // 2205 + 1))[:n]
with wave.open(options["-w"], "wb") as stream:
    stream.setparams((1, 2, 22050, 0, "NONE", ""))
    stream.writeframes(hum.tobytes())
"""


def install(folder: Path, monkeypatch, broken: str = "", slower: float = 1.0, level: int = 1) -> Path:
    """Put the program first on PATH and return the file that its calls are noted in.

    broken: fail at every utterance; slower: how many times as long a word takes; level: 0 for silence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = {"python": sys.executable, "version": "1.51", "broken": broken, "slower": slower, "level": level}
    text = SCRIPT
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    (folder / "espeak-ng").write_text(text)
    (folder / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder / "calls.txt"
