"""Sounds on demand: a folder of wav files, with a table of them and one page to hear and see them."""

import html
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from envsound.base.files import write_csv, write_text
from envsound.base.text import file_name
from envsound.report.players import html_page, player
from envsound.run.identity import digest

if TYPE_CHECKING:
    from envsound.systems.base import Request, System
    from envsound.systems.sampling import Selection
    from envsound.systems.soundstorm.generator import Generator

NAME, HELP = "sample", "make sounds of a class or after a description, new ones or like a recording"
EXAMPLE = "envsound sample rain --count 4 --seconds 10 --seed 0 --out sounds/rain"
FOLDER = Path("data") / "runs" / "sounds"  # of what notebooks make
PAGE, TABLE, PICTURES = "index.html", "samples.csv", "spectrograms"
STYLE = """.sound { border-top: 1px solid #ddd; padding: 1rem 0; }
img, audio { width: 100%; max-width: 36rem; }"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `envsound sample` takes: a class, how many sounds of it, how long, and where they go."""
    words = "of sound, such as dog, rain or rooster, or a description, for a system that follows one; of a run's model "
    words += "it may be left out: each in turn"
    parser.add_argument("category", nargs="?", default="", metavar="CLASS", help=words)
    parser.add_argument("--system", default="", help="a preset whose run is trained, or a run (the model that ships)")
    parser.add_argument("--loop", action="store_true", help="each ends where it begins")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="sounds (1)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each (5)")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same sounds (0)")
    parser.add_argument("--out", default="sounds", metavar="FOLDER", help="where they go (sounds)")
    parser.add_argument("--like", default="", metavar="FILE", help="a recording that each goes on from for S seconds")
    parser.add_argument("--share", type=float, default=0.0, help="vary the recording instead: make this share anew")
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="keep the best of so many (1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def run(options: Namespace) -> int:
    """Write the sounds that were asked for. Raises InputError, with nothing written, for what cannot be."""
    from envsound.evaluation.listeners.shipped import ClassScorer  # needs torch
    from envsound.systems.sampling import Looped, Selection

    system, requests = _asked(options)
    system = Looped(system) if options.loop else system
    write_sounds(system, requests, options.out, Selection(options.candidates, ClassScorer(system.sample_rate)))
    print(f"{len(requests)} sounds: {Path(options.out) / PAGE}")
    return 0


def _asked(options: Namespace) -> tuple["System", list["Request"]]:
    """Return the system that `envsound sample` is to use, and what it is asked for; no class is each in turn."""
    from envsound.systems.sampling import check_told, load_trained, plan_requests
    from envsound.systems.soundstorm.generator import load_generator

    if not options.system:
        generator = load_generator(device=options.device)
        asked = options.category, options.seconds, options.count, options.seed, options.like, options.share
        return generator.system, generator.requests(*asked)
    system = load_trained(options.system, options.device)
    text = ""
    if "text" in system.conditions and options.category not in ("", *system.categories):
        text, said = system.told(options.category)
        print(said or f"text: {text}")
    asked = options.count, options.seed, [] if text else system.categories, "" if text else options.category
    planned = plan_requests(*asked, np.empty(0), options.seconds)
    like = str(Path(options.like).expanduser().absolute()) if options.like else ""
    requests = [replace(one, like=like, share=options.share, text=text) for one in planned]
    check_told(system, requests)
    return system, requests


def write_sounds(
    system: "System", requests: Sequence["Request"], folder: str | Path, selection: "Selection"
) -> pd.DataFrame:
    """Write the clips of some requests into a folder, with TABLE, PICTURES and PAGE; return the table.

    Interrupted, the same call goes on. Raises InputError when the folder holds other files.
    """
    from envsound.data.audio import read_clip
    from envsound.report.figures_metrics import spectrogram
    from envsound.report.style import save_figure
    from envsound.systems.sampling import generate_clips

    folder = Path(folder)
    samples = generate_clips(system, requests, folder, selection=selection)
    write_csv(folder / TABLE, samples)
    for name in samples["filename"]:
        clip = read_clip(folder / name, system.sample_rate)
        save_figure(spectrogram(clip, system.sample_rate), folder / PICTURES, Path(name).stem, kinds=["png"])
    write_text(folder / PAGE, sounds_page(samples))
    return samples


def hear(generator: "Generator", out: str | Path = "", n_candidates: int = 1, **asked: Any) -> str:
    """Write sounds as `envsound sample` does and return their players and pictures, for a notebook in notebooks/.

    out: their folder; "" is one of FOLDER, named after what is `asked` (see `Generator.requests`).
    """
    from envsound.evaluation.listeners.shipped import ClassScorer
    from envsound.systems.sampling import Selection

    requests = generator.requests(**asked)
    selection = Selection(n_candidates, ClassScorer(generator.system.sample_rate))
    mark = digest([repr(requests), str(selection.facts()), generator.system.content_hash])[:8]
    folder = Path(out or FOLDER / f"{file_name(asked['category'])}-{mark}")
    samples = write_sounds(generator.system, requests, folder, selection)
    place = Path(os.path.relpath(folder, "notebooks")).as_posix() + "/"
    return "".join(_sound(row, place) for row in samples.to_dict("records"))


def sounds_page(samples: pd.DataFrame) -> str:
    """Return an HTML page of the clips of a samples.csv beside it: a player, a spectrogram and its facts for each."""
    title = ", ".join(dict.fromkeys(map(_words, samples.to_dict("records")))) or "sounds"
    lines = [_sound(row) for row in samples.to_dict("records")]
    note = f'Made by envsound. How each was made is in <a href="{TABLE}">{TABLE}</a>.'
    return html_page(title, STYLE, [*lines, f"<p>{note}</p>"])


def _sound(row: Mapping[str, Any], place: str = "") -> str:
    """Return a clip's player, picture and facts; place: of its folder, seen from the page."""
    name = row["filename"]
    picture = html.escape(f"{place}{PICTURES}/{Path(name).stem}.png", quote=True)
    facts = [f"{row['seconds']:.1f} s", f"seed {row['seed']}"]
    facts += [f"best of {row['n_candidates']}"] if row["n_candidates"] > 1 else []
    facts += ["loop"] if row.get("loop") else []
    facts += [f"like {html.escape(str(row['like']))}"] if row.get("like") else []
    heard = player(place + name, f"{_words(row)} · {name}")
    seen = f'<img src="{picture}" alt="Spectrogram of {html.escape(name, quote=True)}">'
    return f'<div class="sound">{heard}{seen}<br><small>{", ".join(facts)}</small></div>'


def _words(row: Mapping[str, Any]) -> str:
    """Return the text that a clip was asked for by, else its class in words."""
    return str(row.get("text") or row["category"].replace("_", " "))
