"""The held-out clips of a codec report: who is held out, who listens, and examples written out to be heard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.code_report import bitrate
from envsound.codecs.base import Codec
from envsound.codecs.opus import opus_available, through_opus
from envsound.codecs.recognising import Listener, train_recogniser
from envsound.codecs.systems import through_codec
from envsound.device import choose_device, describe_device
from envsound.errors import InputError
from envsound.files import write_csv, write_wav
from envsound.listener_training import ListenerTraining, train_listener
from envsound.players import player
from envsound.recordings import Recordings

KINDS = ("original", "codec", "opus")
LOWEST_OPUS = 6  # kbit/s
EXAMPLE_COLUMNS = ["clip", "category", *KINDS, "codec_name", "codec_kbps", "opus_kbps"]


class ClipList(Sequence[np.ndarray]):
    """Clips of some recordings, float32 [n_samples] each, read from their files when they are asked for."""

    def __init__(self, recordings: Recordings, clip_ids: Sequence[str]):
        self.recordings, self.clip_ids = recordings, list(clip_ids)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, place: int) -> np.ndarray:
        return self.recordings.load(self.clip_ids[place])


def split(recordings: Recordings, held_out_fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the other folds, which listeners learn from, and of the held-out fold, which is measured.

    Raises InputError when either has no clip or the held-out fold has a class that the others lack.
    """
    table = recordings.table
    held_out = table[table["fold"] == held_out_fold].reset_index(drop=True)
    others = table[table["fold"] != held_out_fold].reset_index(drop=True)
    if held_out.empty or others.empty:
        folds = ", ".join(str(fold) for fold in sorted(table["fold"].unique()))
        raise InputError(f"held_out_fold={held_out_fold}: the recordings have folds {folds}; expected it and another")
    unknown = sorted(set(held_out["category"]) - set(others["category"]))
    if unknown:
        raise InputError(f"held_out_fold={held_out_fold}: no clip of class {unknown[0]!r} outside it; expected some")
    return others, held_out


def train_listeners(
    recordings: Recordings, rows: pd.DataFrame, cnn_epochs: int = 0, seed: int = 0, device: str = "auto"
) -> dict[str, Listener]:
    """Train every listener on the same real clips, rows of `recordings.table`; the first of them is the main one.

    `cnn`, a network on log-mel spectra trained for `cnn_epochs`, is left out at 0; `mfcc_svm`, a vector machine,
    is always there. There are two because one alone may be deaf to just what the codec spoils.
    """
    clips, names = ClipList(recordings, rows["clip_id"]), list(rows["category"])
    listeners: dict[str, Listener] = {}
    if cnn_epochs:
        training = ListenerTraining(n_epochs=cnn_epochs, seed=seed)
        listeners["cnn"] = train_listener(clips, names, recordings.sample_rate, training, device=device)
    return listeners | {"mfcc_svm": train_recogniser(clips, names, recordings.sample_rate)}


def report_facts(
    recordings: Recordings, others: pd.DataFrame, held_out: pd.DataFrame, codecs: Mapping[str, Codec], device: str
) -> dict[str, Any]:
    """Return what the provenance of a report should say: data cut, counts, codecs, Opus, and the machine."""
    return {
        "data_cut": recordings.cut,
        "n_held_out": len(held_out),
        "n_heard_by_listeners": len(others),
        "codecs": {name: codec.content_hash for name, codec in codecs.items()},
        "opus": opus_available(),
        "device_used": describe_device(choose_device(device)),
    }


def opus_kbps(codec: Codec) -> int:
    """Return the rate, kbit/s, at which Opus comes nearest to a codec's own; Opus goes no lower than 6."""
    return max(LOWEST_OPUS, round(bitrate(codec) / 1000))


def write_examples(
    codec: Codec, name: str, recordings: Recordings, held_out: pd.DataFrame, folder: str | Path, n_examples: int
) -> pd.DataFrame:
    """Write held-out clips as original, through the codec, and through Opus; return and write `examples.csv`.

    The first clip of every class, then the second, and so on: nothing is picked by ear. Columns: clip, category,
    original, codec, opus (names of 16-bit wav files in `folder`; opus "" where Opus is not installed), codec_name
    (`name`), codec_kbps, opus_kbps. Older examples in `folder` are removed. Raises InputError for n_examples below 0.
    """
    if n_examples < 0:
        raise InputError(f"n_examples={n_examples}: expected 0 or more")
    folder, kbps, rows = Path(folder), opus_kbps(codec), []
    for old in folder.glob("*.wav"):
        old.unlink()
    turn = held_out.groupby("category").cumcount().sort_values(kind="stable")
    for row in held_out.loc[turn.index[:n_examples]].itertuples():
        clip = recordings.load(row.clip_id)
        sounds = {"original": clip, "codec": through_codec(clip, codec)}
        if opus_available():
            sounds["opus"] = through_opus(clip, codec.sample_rate, kbps)
        names = {kind: f"{row.clip_id.replace('/', '_')}_{kind}.wav" for kind in sounds}
        for kind, sound in sounds.items():
            write_wav(folder / names[kind], sound, codec.sample_rate)
        rates = {"codec_name": name, "codec_kbps": bitrate(codec) / 1000, "opus_kbps": kbps}
        rows.append({"clip": row.clip_id, "category": row.category, "opus": "", **names, **rates})
    examples = pd.DataFrame(rows, columns=EXAMPLE_COLUMNS)
    write_csv(folder / "examples.csv", examples)
    return examples


def example_headings(examples: pd.DataFrame) -> dict[str, str]:
    """Return the heading of each kind of example, such as "opus" -> "Opus, 6 kbit/s"."""
    if examples.empty:
        return {}
    first = examples.iloc[0]
    own = f"{first['codec_name']}, {first['codec_kbps']:g} kbit/s"
    return {"original": "Original", "codec": own, "opus": f"Opus, {first['opus_kbps']:g} kbit/s"}


def example_players(examples: pd.DataFrame, folder: str | Path, relative_to: str | Path = "notebooks") -> str:
    """Return an HTML table of linked players, a clip a row, for a page in the folder `relative_to`."""
    if examples.empty:
        return "<p>No examples were asked for.</p>"
    head = "".join(f"<th>{words}</th>" for words in example_headings(examples).values())
    rows = []
    for row in examples.itertuples():
        label = f"{row.category.replace('_', ' ')} ({row.clip})"
        files = (row.original, row.codec, row.opus)
        cells = [player(Path(folder) / name, label, relative_to) if name else "not installed" for name in files]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<table class="sounds"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
