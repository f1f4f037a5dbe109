"""The book's chapter on the ceiling: its numbers and figures from a published codec report, its sounds from runs."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import inside, read_csv, read_json, visible
from envsound.base.text import markdown_table, number, plain, wide
from envsound.report.cards import Heard, clips_of, recording
from envsound.report.facts import NOT_MEASURED, Facts, run_origin
from envsound.report.facts import facts as as_facts
from envsound.report.fragments import Staging, sound_row, with_interval
from envsound.report.players import example_table
from envsound.run.publish import ReportKind
from envsound.studies.codec_report.tables import ALL, DISTANCES, fixed, listeners_in, share, systems_table, table

PAGE, TABLES_PAGE = "studies/codec_report.md", "studies/codec_report_tables.md"
REPORT = "codec"  # in data/published
TABLES = ("systems.csv", "ceiling.csv", "by_class.csv", "codebook.csv", "speed.csv", "judged.csv", "stability.csv")
TABLES += ("predictability.csv",)
CODES = ("patch_codes.csv", "patch_codes_by_level.csv")  # of notebook 11
REPORTS = (
    ReportKind(TABLES, "a finished codec report", ("clips.csv",)),
    ReportKind(CODES, "a finished comparison of patch codes", folder="patch_codes"),
)
HEARD = {"through patch tokens": "patches, with their decoder"}
HEARD |= {"through tokens with phase": "codec with phase, 8 of 8 levels"}
ABSENT = f"*{NOT_MEASURED}*"
FIGURES = {
    "levels": "Log-mel distance and recognised clips against the number of levels; bars are 95% intervals.",
    "classes": "Log-mel distance of every class, codecs with all their levels.",
    "bands": "Level against the original (left) and distance (right) of every frequency band, by number of levels.",
    "class_bands": "Level against the original of every class and frequency band, with all levels.",
    "codebooks": "Share of every level's codebook in use; diamonds the perplexity, the line what was aimed at.",
}
CODEBOOK = {
    "codec": ("codec", str), "level": ("level", str), "codes in use": ("codes_used", number),
    "share": ("used_share", share), "perplexity": ("perplexity", lambda value: fixed(value, 0)),
}  # fmt: skip
SPEED = {
    "codec": ("codec", str), "device": ("device_name", str),
    **{f"{way} (s)": (f"{way}_seconds", lambda value: number(value, 2)) for way in ("encode", "decode")},
    "seconds of sound a second": ("real_time_factor", lambda value: fixed(value, 0)),
}  # fmt: skip
FORETOLD = {
    "codec": ("codec", str), "level": ("level", str), "bits a code": ("bits_alone", fixed),
    "saved by the one before": ("saved_by_previous", fixed), "saved by the level below": ("saved_by_lower", fixed),
}  # fmt: skip
STABILITY = {
    "codec": ("codec", str), "level": ("level", str), "perplexity": ("perplexity", lambda value: fixed(value, 0)),
}  # fmt: skip


def facts(published: Path) -> Mapping[str, Any]:
    """Return the substitutions: ceiling, see `report_facts`, and patch_codes, a table."""
    return {"ceiling": report_facts(published / REPORT), "patch_codes": _patch_codes(published / "patch_codes")}


def report_facts(folder: Path) -> Facts:
    """Return what is said of a published codec report; empty where `folder` holds none.

    run: `run_origin`, with held_out_fold and n_held_out; systems, classes, bands_table, codebook, speed:
    Markdown tables; own: the row of the codec measured, with all its levels, from systems.csv; system: name -> row;
    bands: "b8000_12000" -> "n1", "n2", ... and "all" -> level_difference_db (with its sign), distance_db, n,
    n_left_out; worst: the class whose log-mel distance is largest; high_band: its edges in words; judged,
    judged_classes, periodic, stability, predictability: Markdown tables, the first two by class, whole codecs alone.
    """
    tables = {path.stem: read_csv(path) for path in visible(folder, "*.csv")}
    if not {"systems", "ceiling"} <= set(tables):
        return Facts()
    systems, ceiling = tables["systems"], tables["ceiling"]
    found = Facts({"run": as_facts(_origin(folder)), "systems": _wide(systems_table(systems))})
    found["system"] = Facts({_key(row["system"]): _row(row) for row in systems.to_dict("records")})
    own = systems[systems["codec"] == systems.loc[systems["codec"] != "", "codec"].iloc[0]]
    own = own.loc[own["n_levels"].idxmax()]
    found["own"] = found["system"][_key(own["system"])]
    everyone = ceiling[ceiling["category"] == ALL]
    found["bands"], found["bands_table"] = _bands(everyone), _bands_table(everyone[everyone["band"] != ALL])
    found["high_band"] = ceiling.loc[ceiling["band"] != ALL, "band"].iloc[-1].replace("-", " to ")
    for name, columns in (("codebook", CODEBOOK), ("speed", SPEED)):
        found[name] = _wide(table(tables[name], columns)) if name in tables else ABSENT
    whole = [str(name) for name in systems.loc[_is_whole(systems), "system"]]
    if "judged" in tables and tables["judged"]["system"].notna().any():
        found["judged"] = _judged(tables["judged"].query("category == @ALL"))
        found["judged_classes"] = _by_class(tables["judged"].query("category != @ALL"), "heard", whole, share)
        rows = tables["judged"].query("category == @ALL").to_dict("records")
        found["heard"] = Facts({_key(row["system"]): share(row["heard"]) for row in rows})
    else:
        found["judged"] = found["judged_classes"] = ABSENT
    found["kept"] = _kept(tables["stability"]) if "stability" in tables else Facts()
    found["stability"] = _stability(tables["stability"]) if "stability" in tables else ABSENT
    if "predictability" in tables:
        found["predictability"] = _wide(table(tables["predictability"], FORETOLD))
    if "by_class" in tables and "harmonicity_error" in tables["by_class"]:
        found["periodic"] = _by_class(tables["by_class"], "harmonicity_error", whole, fixed)
    if "by_class" in tables:
        classes = tables["by_class"].query("system == @own.system")
        found["classes"] = _class_table(classes)
        found["worst"] = _row(classes.loc[classes["log_mel_distance"].idxmax()].to_dict())
    return found


def stage(book: Staging) -> None:
    """Write a fragment for each figure, ceiling/<name>.txt, and the page studies/codec_clips.md of clips to be heard.

    ceiling/whole.txt is what a judge hears through whole codecs, ceiling/heard.txt cards of a few clips, and
    ceiling/tables.txt links to the csv files.

    A figure that the published report does not hold is a line that says so. Sounds are copied from codec reports and
    from the book's runs on this machine; none is part of the repository.
    """
    for name, words in FIGURES.items():
        path = book.published / REPORT / "figures" / f"{name}.png"
        book.write(f"ceiling/{name}.txt", book.figure(path, words, TABLES_PAGE, "codec-report") or [ABSENT])
    judged = book.published / REPORT / "judged.csv"
    rows = _whole_rows(read_csv(judged)) if judged.is_file() else []
    book.write("ceiling/whole.txt", book.table(rows, judged, PAGE, "names") or [ABSENT])
    book.write("ceiling/heard.txt", _heard(book) or [ABSENT])
    tables = [book.published / REPORT / name for name in TABLES]
    tables += [book.published / "patch_codes" / name for name in CODES]
    book.write("ceiling/tables.txt", book.downloads(tables, TABLES_PAGE) or [ABSENT])
    folders = visible(book.published.parent / "runs" / REPORT, "*/examples")
    folders += [run.folder / "codec_clips" for run in book.runs]
    sections = [line for folder in folders if (folder / "examples.csv").is_file() for line in _section(book, folder)]
    head = ["# The codec, clip by clip", "", INTRODUCTION, ""]
    book.write("studies/codec_clips.md", [*head, *(sections or [NO_CLIPS, ""])])


def _whole_rows(judged: pd.DataFrame) -> list[dict[str, str]]:
    """Return what a judge hears of codecs with all their levels, the originals and what is no codec of ours."""
    rows = judged.query("category == @ALL").to_dict("records")
    most: dict[str, int] = {}
    for row in rows:
        name, _, levels = row["system"].partition(", ")
        if "level" in levels:
            most[name] = max(most.get(name, 0), int(levels.split()[0]))
    whole = [row for row in rows if "level" not in row["system"]
             or int(row["system"].split(", ")[1].split()[0]) == most[row["system"].partition(", ")[0]]]  # fmt: skip
    return [{"through": row["system"], "clips": number(int(row["n"])), "heard": with_interval(row, "heard", "{:.0%}"),
             "KAD": with_interval(row, "kad", "{:.1f}")} for row in whole]  # fmt: skip


def _heard(book: Staging) -> list[str]:
    """Return cards of a few held-out clips: as recorded, through the patches, and through the codec with phase."""
    patches, phase = (clips_of(book.published, system) for system in HEARD.values())
    lines = []
    for category in ("rooster", "crying_baby", "chainsaw", "dog"):
        if category not in patches or category not in phase:
            continue
        clip = patches[category].stem
        sounds = [recording(book.published, clip, category)]
        sounds += [Heard(paths[category], category, words, clip)
                   for words, paths in zip(HEARD, (patches, phase), strict=True)]  # fmt: skip
        lines += [f"**{category.replace('_', ' ').capitalize()}**", "", *sound_row(book, sounds, PAGE)]
    return lines


def _section(book: Staging, folder: Path) -> list[str]:
    """Return the part of one report or run, whose sounds are in `folder`; nothing when it has none."""
    examples, made, run = read_csv(folder / "examples.csv"), folder.parent.name, folder.parent.parent.name
    if examples.empty:
        return []

    def play(name: str, label: str) -> str:
        page, group = book.book_dir / "executed" / "studies" / "codec_clips.md", f"codec-{run}-{made}"
        found = book.assets.player(inside(folder, name), group, page, label)
        return found or f'<em class="absent">{html.escape(name)}: not on this machine</em>'

    title = f"The report {made}" if folder.name == "examples" else f"The run {run}, {made.replace('_', ', ')}"
    origin = _origin(folder.parent)
    cut = f"fold {origin.get('held_out_fold', origin.get('fold'))} of {origin['data_cut']}"
    note = f"Held-out recordings: {cut}. The first of each class, then the second; none was picked by ear."
    return [f"## {title}", "", note, "", *example_table(examples, play), ""]


def _origin(folder: Path) -> dict[str, Any]:
    """Return `run_origin` of a report, with the fold and the number of clips it measured."""
    if not (folder / "provenance.json").is_file():
        return {}
    found: dict[str, Any] = run_origin(folder)
    for step in read_json(folder / "provenance.json")["steps"].values():
        known = step.get("parameters", {}) | step.get("facts", {})
        found |= {key: known[key] for key in ("held_out_fold", "n_held_out", "n_heard_by_listeners") if key in known}
    return found


def _row(row: dict[str, Any]) -> Facts:
    """Return a row as facts: shares as percentages, distances with two digits."""
    shares = {name for name in row if name.startswith(("recognised_", "comb_share")) and not pd.isna(row[name])}
    forms = dict.fromkeys(DISTANCES, fixed) | dict.fromkeys(shares, share)
    return Facts({name: forms.get(name, as_facts)(value) for name, value in row.items()})


def _key(name: str) -> str:
    """Return a system's name as a template can write it, such as "opus_12_kbit_s"."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _wide(lines: list[str]) -> str:
    return "\n".join(wide(lines))


def _bands(rows: pd.DataFrame) -> Facts:
    found, most = Facts(), rows["n_levels"].max()
    for row in rows.to_dict("records"):
        cells = Facts({name: as_facts(row[name]) for name in ("distance_db", "n", "n_left_out")})
        cells["level_difference_db"] = fixed(row["level_difference_db"], 1, "+")
        band = found.setdefault("b" + row["band"].replace("-", "_"), Facts())
        band |= {f"n{row['n_levels']}": cells} | ({ALL: cells} if row["n_levels"] == most else {})
    return found


def _bands_table(rows: pd.DataFrame) -> str:
    levels = sorted(rows["n_levels"].unique())
    header = ["band (Hz)", *[f"{n} level{'s' if n > 1 else ''}" for n in levels], "n", "left out"]
    body = []
    for band, group in rows.groupby("band", sort=False):
        cells = group.set_index("n_levels")
        changes = [fixed(cells.loc[n, "level_difference_db"], 1, "+") for n in levels]
        body.append([band.replace("-", " to "), *changes, *[fixed(cells[n].iloc[0], 0) for n in ("n", "n_left_out")]])
    return _wide(markdown_table(header, body))


def _is_whole(systems: pd.DataFrame) -> pd.Series:
    """Say which rows of systems.csv are a codec with all its levels, the originals or Opus."""
    most = systems.groupby("codec")["n_levels"].transform("max")
    return systems["codec"].isna() | (systems["n_levels"] == most)


def _judged(rows: pd.DataFrame) -> str:
    """Return what a judge hears through every system, with its interval, and how far off the clips are."""
    ends = zip(rows["heard"], rows["heard_low"], rows["heard_high"], strict=True)
    interval = [f"{share(value)} ({100 * low:.0f} to {share(high)})" for value, low, high in ends]
    columns = {"system": ("system", str), "n": ("n", lambda n: number(int(n))), "heard": ("interval", str)}
    columns |= {name.upper(): (name, lambda value: fixed(value, 1)) for name in ("fad", "kad")}
    return _wide(table(rows.assign(interval=interval), columns))


def _by_class(rows: pd.DataFrame, column: str, systems: list[str], write: Callable[[float], str]) -> str:
    """Return a column of a table by class, a column of values for each of some systems."""
    grid = rows[rows["system"].isin(systems)].pivot_table(column, "category", "system")
    known = [name for name in systems if name in grid]
    body = [[plain(str(name).replace("_", " ")), *[write(row[one]) for one in known]] for name, row in grid.iterrows()]
    return _wide(markdown_table(["class", *known], body))


def _kept(rows: pd.DataFrame) -> Facts:
    """Return the share of codes that the smallest change leaves: codec -> first and last, of its levels."""
    smallest = rows[rows["change"] == rows["change"].iloc[0]].sort_values("level")
    return Facts({
        _key(codec): Facts({end: f"{of_one['kept'].iloc[place]:.1%}" for end, place in (("first", 0), ("last", -1))})
        for codec, of_one in smallest.groupby("codec")
    })  # fmt: skip


def _stability(rows: pd.DataFrame) -> str:
    """Return the share of codes that each change leaves, a row for each codec and level."""
    grid = rows.pivot_table("kept", ["codec", "level", "perplexity"], "change", sort=False).reset_index()
    return _wide(table(grid, STABILITY | {change: (change, share) for change in rows["change"].unique()}))


def _patch_codes(folder: Path) -> str:
    """Return the ways to code patches beside each other: reconstruction, and what counting leaves of their bits."""
    if not (folder / CODES[0]).is_file():
        return ABSENT
    levels = read_csv(folder / CODES[1]).query("columns == 'sounding'")
    left = (levels["bits_alone"] - levels["saved_by_previous"]).groupby(levels["codec"]).sum()
    rows = read_csv(folder / CODES[0]).set_index("codec", drop=False)
    rows = rows.assign(left=left, perplexity=levels.groupby("codec")["perplexity"].mean())
    columns = {"codes": ("codec", str), "bit/s": ("bits_per_second", lambda value: number(int(value)))}
    columns |= {"log-mel (dB)": ("sounding_log_mel_db", fixed), "through shaped noise (dB)": ("heard_db", fixed)}
    columns |= {"perplexity": ("perplexity", lambda value: fixed(value, 0))}
    return _wide(table(rows, columns | {"bits left a column": ("left", lambda value: fixed(value, 1))}))


def _class_table(rows: pd.DataFrame) -> str:
    columns = {"class": ("category", lambda name: plain(name.replace("_", " ")))}
    columns |= {"n": ("n_clips", lambda n: number(int(n)))}
    columns |= {words: (name, fixed) for name, words in DISTANCES.items()}
    columns |= {f"recognised ({name})": (f"recognised_{name}", share) for name in listeners_in(rows)}
    return _wide(table(rows, columns | {"KS": ("ks_max", fixed)}))


INTRODUCTION = """Held-out clips as recorded, through the codec with all its levels, and through Opus at the rate
nearest to the codec's own. Whatever you miss in the middle column, no model of these codes can bring back. Recordings
are never part of this repository: they are linked from the machine that built the book."""
NO_CLIPS = """No examples are on the machine that built this book. `make study PRESET=esc10 DATA=<folder>` writes twelve
held-out clips of its recordings, and so does `envsound codec --dataset esc50 --esc10-only --data-dir <folder>`."""
