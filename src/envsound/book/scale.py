"""What the study would take at other scales, reckoned from what its published run took."""

from pathlib import Path

from envsound.base.files import read_json, visible
from envsound.base.text import markdown_table, wide
from envsound.book.home import RUN, TRAINING
from envsound.report.facts import Facts, facts
from envsound.report.fragments import Staging, not_published

RECORD = Path("data") / "published" / RUN / "provenance.json"
ENCODING, SAMPLING = "01_encode_clips", "03_sample_clips"  # steps of the record, beside TRAINING
GPU_HOURS = (10, 1_000, 100_000)
CODE_BYTES, SAMPLE_BYTES = 2, 2  # a code in its file, a sample of a wav file
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def scale_facts(root: str | Path) -> Facts:
    """Return what one clip takes, `costs` in words, and `cpu` and `gpu`, on which that was; empty without results."""
    one = costs(root)
    if not one:
        return Facts()
    words = {name: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for name, value in one.items()}
    steps = read_json(Path(root) / RECORD)["steps"]
    return facts(words | {"cpu": steps[ENCODING]["device"], "gpu": steps[TRAINING]["device"]})


def costs(root: str | Path) -> dict[str, float]:
    """Return what one clip takes: wav_bytes, ogg_bytes, code_bytes, encode_seconds, sample_seconds, trained_per_second.

    Beside them clip_seconds, the mean length of those that were sampled, epochs, and n_audio_files, of which ogg_bytes
    is the mean. Read from the published run's record, the codec's card and the recordings that ship; empty when one is
    not there. Encoding includes reading and altering. The times are those of the run's steps, each on its device.
    """
    data, record = Path(root) / "data", Path(root) / RECORD
    card = data / "codec" / "patches.json"
    files = visible(data / "material" / "audio", "*.ogg")
    if not (record.is_file() and card.is_file() and files):
        return {}
    steps, codec = read_json(record)["steps"], read_json(card)
    encoding, training, sampling = (steps[name] for name in (ENCODING, TRAINING, SAMPLING))
    trained, sampled = training["facts"], sampling["facts"]
    seconds = sampled["audio_seconds"] / sampled["n_samples"]
    n_versions = trained["n_train_clips"] + trained["n_train_copies"]
    rate = codec["sample_rate"]
    return {
        "clip_seconds": seconds,
        "wav_bytes": seconds * rate * SAMPLE_BYTES,
        "ogg_bytes": sum(path.stat().st_size for path in files) / len(files),
        "n_audio_files": len(files),
        "code_bytes": round(seconds * codec["frame_rate"]) * codec["n_levels"] * CODE_BYTES,
        "encode_seconds": encoding["seconds"] / (encoding["facts"]["n_clips"] + encoding["facts"]["n_copies"]),
        "sample_seconds": sampling["seconds"] / sampled["n_samples"],
        "trained_per_second": n_versions * trained["epochs"] / trained["training_seconds"],
        "epochs": trained["epochs"],
    }


def stage_scale(book: Staging) -> None:
    """Write scale/hours.txt: the clips that some GPU-hours train on at the measured speed, their bytes and seconds."""
    one = costs(book.published.parents[1])
    if not one:
        book.write("scale/hours.txt", not_published("run"))
        return
    header = ["GPU-hours", "clips", "hours of sound", "as wav", "as Ogg", "as codes", "CPU-hours to encode"]
    rows = []
    for hours in GPU_HOURS:
        n_clips = hours * 3600 * one["trained_per_second"] / one["epochs"]
        sizes = [in_words(n_clips * one[f"{kind}_bytes"], "B") for kind in ("wav", "ogg", "code")]
        sound, encoding = (in_words(n_clips * one[f"{kind}_seconds"] / 3600) for kind in ("clip", "encode"))
        rows.append([f"{hours:,}", in_words(n_clips), sound, *sizes, encoding])
    book.write("scale/hours.txt", wide(markdown_table(header, rows)))


def in_words(value: float, unit: str = "") -> str:
    """Return a number of two digits with a metric prefix, such as "1.2 MB"."""
    value, place = float(f"{value:.2g}"), 0
    while value >= 1000 and place < len(PREFIXES) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.3g} {PREFIXES[place]}{unit}".strip()
