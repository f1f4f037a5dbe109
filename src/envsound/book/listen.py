"""The sounds of the book's own pages, as cards: class by class, the strip of the first page, one decoding."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER, dropdown
from envsound.report.cards import Heard, clips_of, recording
from envsound.report.fragments import Staging, sound_row

LISTEN, HOME, HOW = "listen.md", "intro.md", "how_it_works.md"  # pages
THROUGH, CHAIN = "patches, with their decoder", "chain, no copies, patch codes"  # systems that judges heard
MADE = "made by the model; no rights claimed"
CHAINED = 'strung together from codes of <a href="cards.html#the-recordings-that-ship">the recordings that ship</a>'
NOTHING = ["*Not run here: no published run has generated clips.*"]
MORE = "Another one by the model, and the training clips nearest to both"
SPACE = "log-mel"  # in which a nearest training clip is looked for


def stage_listen(book: Staging, strip: Iterable[str]) -> None:
    """Write listen.txt, a row of cards for each class; home/strip.txt, those of the classes `strip`; and decoding.txt.

    Sounds are those of the first published run, of the codec and the chain as judges heard them, and the recordings
    that ship; what is not there leaves no card.
    """
    rows, more = shown(book.published), _on_request(book.published)
    lines = []
    for category, sounds in rows.items():
        lines += [f"## {category.replace('_', ' ').capitalize()}", "", *sound_row(book, sounds, LISTEN)]
        lines += dropdown(MORE, sound_row(book, more.get(category, []), LISTEN))
    book.write("listen.txt", lines or NOTHING)
    lines = []
    for category in strip:
        lines += [f"**{_words(category).capitalize()}**", "", *sound_row(book, rows.get(category, []), HOME)]
    book.write("home/strip.txt", lines or NOTHING)
    book.write("decoding.txt", sound_row(book, decoding(book.published), HOW) or NOTHING)


def shown(published: Path) -> dict[str, list[Heard]]:
    """Return what is heard of each class: a held-out recording, the same through the codec, the model, the chain."""
    model, codec, chain = _model(published), clips_of(published, THROUGH), clips_of(published, CHAIN)
    rows: dict[str, list[Heard]] = {}
    for category, clips in model.items():
        sounds = [Heard(clips[0], category, "model", words=MADE)]
        if category in codec:
            clip = codec[category].stem
            through = Heard(codec[category], category, "the recording through the codec", clip)
            sounds = [recording(published, clip, category), through, *sounds]
        if category in chain:
            sounds.append(Heard(chain[category], category, "column chain, no model", words=CHAINED))
        rows[category] = sounds
    return rows


def decoding(published: Path) -> list[Heard]:
    """Return one decoding after some of its passes, from published/decoding."""
    folder = published / "decoding"
    if not (folder / "passes.csv").is_file():
        return []
    passes = read_csv(folder / "passes.csv")
    category, n_codes = passes["category"].iloc[0], len(passes)
    cards = []
    for path in sorted((folder / "clips").glob("*.ogg")):
        known = int((passes["pass"] <= int(path.stem)).sum())
        words = f"{known} of {n_codes} codes are known"
        cards.append(Heard(path, category, f"after {int(path.stem)} passes", words=words))
    return cards


def _on_request(published: Path) -> dict[str, list[Heard]]:
    """Return, for each class, a second clip of the model, and the training clips that are nearest to both."""
    rows: dict[str, list[Heard]] = {}
    for category, clips in _model(published).items():
        nearest = _nearest(clips[0].parents[1])
        sounds = [Heard(clips[1], category, "model, its second clip", words=MADE)] if len(clips) > 1 else []
        for words, clip in zip(("first", "second"), clips[:2], strict=False):
            if clip.stem in nearest:
                name, of = nearest[clip.stem]
                kind = f"nearest training clip to the {words}: {_words(of)}"
                sounds.append(recording(published, name, category, kind))
        rows[category] = sounds
    return rows


def _model(published: Path) -> dict[str, list[Path]]:
    """Return the generated clips of the first published run by class, in their order."""
    runs = [path.parent for path in sorted(published.glob("*/table_metrics.csv"))]
    run = next((folder for folder in runs if (folder / "clips.csv").is_file()), None)
    rows: dict[str, list[Path]] = {}
    for clip in read_csv(run / "clips.csv").to_dict("records") if run else []:
        rows.setdefault(clip["category"], []).append(run / "clips" / clip["filename"])
    return dict(sorted(rows.items()))


def _nearest(run: Path) -> Mapping[str, tuple[str, str]]:
    """Return the nearest training clip of each generated one, and its class, by the stem of its file."""
    if not (run / "nearest.csv").is_file():
        return {}
    table = read_csv(run / "nearest.csv")
    rows = table[(table["side"] == "generated") & (table["space"] == SPACE)]
    return {Path(row.clip).stem: (row.nearest, row.nearest_category) for row in rows.itertuples()}


def _words(category: str) -> str:
    return category.replace("_", " ") or NO_NUMBER
