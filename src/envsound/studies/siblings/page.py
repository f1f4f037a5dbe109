"""The book's page that audits three sibling studies: every check is computed from the figures they printed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER
from envsound.metrics.tests import wilson
from envsound.report.facts import Facts
from envsound.report.fragments import Staging, not_published
from envsound.run.publish import ReportKind

REPORTS: tuple[ReportKind, ...] = ()  # the figures are typed from print; no run makes them
FILE, PAGE = "siblings/published_siblings.csv", "systems/siblings_audit.md"
FOLEY, TEXTURES, TEXT = "foley", "textures", "text to sound"
STRIDE = 8 * 5 * 4 * 2  # samples an EnCodec frame, where its own strides are kept
T5_WIDTHS = {"T5-base": 768, "T5-large": 1024}
N_LAYERS = 16  # of the language model; unsaid, and the only number of layers that comes near


class Check(NamedTuple):
    """What a study prints, what follows from its own figures, and what that means."""

    study: str
    what: str
    printed: str
    computed: str
    meaning: str


class Printed:
    """The figures of one study, by system, item and measure."""

    def __init__(self, table: pd.DataFrame, study: str):
        self.rows = table[table["study"] == study]

    def of(self, **named: str) -> np.ndarray:
        """Return the values of all rows with these columns, float64. Raises KeyError when there is none."""
        rows = self.rows
        for column, value in named.items():
            rows = rows[rows[column] == value]
        if rows.empty:
            raise KeyError(f"no figure with {named}")
        return rows["value"].to_numpy(dtype=np.float64)

    def one(self, measure: str, system: str, item: str = "all", section: str = "") -> float:
        """Return the one value of a measure of a system."""
        named = {"measure": measure, "system": system, "item": item}
        return float(self.of(**named, **({"section": section} if section else {}))[0])


def stage(book: Staging) -> None:
    """Write what the page includes, executed/siblings/: checks.txt and figures.txt, the csv to download."""
    path = book.published / FILE
    if not path.is_file():
        book.write("siblings/checks.txt", not_published("table of the siblings' figures"))
        return
    rows = [dict(zip(("study", "what", "printed", "computed", "meaning"), one, strict=True)) for one in checks(path)]
    book.write("siblings/checks.txt", book.table(rows, path, PAGE, "names"))


def facts(published: Path) -> Mapping[str, Any]:
    """Return `siblings`: n_figures and n_checks."""
    path, found = published / FILE, Facts()
    if path.is_file():
        found = Facts({"n_figures": str(len(read_csv(path))), "n_checks": str(len(checks(path)))})
    return {"siblings": found}


def checks(path: Path) -> list[Check]:
    """Return every check of published_siblings.csv."""
    table = read_csv(path).fillna({"section": ""})
    table["item"] = table["item"].astype(str)
    return [*_foley(Printed(table, FOLEY)), *_textures(Printed(table, TEXTURES)), *_text(Printed(table, TEXT))]


def _foley(told: Printed) -> list[Check]:
    total, train, held = (told.one(name, "data") for name in ("clips", "clips of training", "clips of validation"))
    mel = told.one("mel bands", "input") * told.one("mel frames", "input")
    embedded = told.one("embedding rows", "input") * told.one("embedding frames", "input")
    base, theirs = (told.of(system=name, measure="FAD") for name in ("challenge baseline", "optimised"))
    two = "conditioned mel VQ-VAE", "conditioned MVQVAE"
    same, train_ce = ([told.one("cross-entropy", name, split) for name in two] for split in ("validation", "train"))
    return [
        Check(FOLEY, "clips in training and validation", f"{total:,.0f}", f"{train + held:,.0f}",
              f"{total - train - held:.0f} clips are in neither"),
        Check(FOLEY, "numbers of the embedding, in mels", "about 14", f"{embedded / mel:.1f}",
              f"{told.one('embedding rows', 'input') / told.one('mel bands', 'input'):.1f} times the rows"),
        Check(FOLEY, "classes in which the baseline is beaten", "six of 7, and all", f"{(theirs < base).sum()} of 7",
              "on 32 clips a class beside 100: a Fréchet distance falls with the number of clips"),
        Check(FOLEY, "validation cross-entropy of two models", f"{same[0]:g} and {same[1]:g}",
              f"{train_ce[1] / train_ce[0]:.1f} times apart in training", "one of the two is copied from the other"),
    ]  # fmt: skip


def _textures(told: Printed) -> list[Check]:
    found = []
    for measure in ("mSTFT", "FAD"):
        worst = 0.0, "", ""
        for section in ("Table 1", "Table 2"):
            for system in told.rows.loc[told.rows["section"] == section, "system"].unique():
                classes = [told.one(measure, system, one, section) for one in ("sea waves", "rain", "thunder")]
                apart = abs(np.mean(classes) - told.one(measure, system, "mean", section))
                worst = max(worst, (float(apart), section, system))
        found.append(Check(TEXTURES, f"means over classes, {measure}", "eight", f"off by {worst[0]:.4f} at most",
                           f"{worst[2]}, {worst[1]}"))  # fmt: skip
    rate, latents = told.one("sample rate", "data"), told.one("latents", "VAE-DDSP-NF")
    pace = rate / told.one("hop", "VAE-DDSP-NF") * latents, rate / STRIDE * latents, rate / STRIDE * 128
    bands, coded = ([told.one("FAD", f"VAE-{name}", item, "Table 1") for item in ("mean", "thunder")]
                    for name in ("NoiseBand", "EnCodec16"))  # fmt: skip
    return [
        *found,
        Check(TEXTURES, "numbers a second: NoiseBand, EnCodec 16, EnCodec 128", "comparable",
              ", ".join(f"{value:,.0f}" for value in pace), "with EnCodec's own strides; theirs are not said"),
        Check(TEXTURES, "EnCodec 16 beside NoiseBand, FAD", "marginally better",
              f"{1 - coded[0] / bands[0]:.0%} lower in the mean", f"{coded[1] / bands[1] - 1:.0%} higher for thunder"),
        Check(TEXTURES, "least mSTFT of any noise, in that of silence", NO_NUMBER, f"{2 * (1 - 1 / math.sqrt(2)):.3f}",
              "two draws of one noise; a model that keeps phase has no such floor, so the tables rank by it"),
        Check(TEXTURES, "share of test seconds whose recording also trains", NO_NUMBER, "see the study of textures",
              "the split is at random over seconds of the same recordings"),
    ]  # fmt: skip


def _text(told: Printed) -> list[Check]:
    names = ("dim", "heads", "hidden scale", "codebooks", "codebook size")
    shape = {name: int(told.one(name, "MusicGen")) for name in names}
    sizes = {name: n_parameters(shape, N_LAYERS, width) for name, width in T5_WIDTHS.items()}
    two, splits = ["MusicGen", "AudioGen"], ["train", "validation"]
    both = told.rows[told.rows["system"].isin(two) & told.rows["item"].isin(splits)]
    equal = both.groupby(["item", "measure"])["value"].nunique()
    per_sound = told.rows[(told.rows["measure"] == "quality") & (told.rows["item"] != "all")]
    quality = per_sound.loc[per_sound["system"] == "MusicGen", "value"].mean()
    least, listeners = told.one("matches", "one model", "rumbly"), int(told.one("listeners", "listeners"))
    low, high = wilson(int(least), listeners)
    factor = told.one("real-time factor", "MusicGen", "test")
    return [
        Check(TEXT, "parameters", f"{told.one('parameters', 'MusicGen') / 1e6:.2f} million",
              "; ".join(f"{name}: {size:,}" for name, size in sizes.items()),
              f"{N_LAYERS} layers behind T5-large, the text encoder of AudioGen, not of MusicGen"),
        Check(TEXT, "training and validation figures of the two models", "two runs",
              f"{(equal == 1).sum()} of {len(equal)} equal in every digit", "one run, or one pasted"),
        Check(TEXT, "cross-entropy of a code", f"{told.one('cross-entropy', 'MusicGen', 'validation'):.3f} nat",
              f"{math.log(shape['codebook size']):.2f} nat for a uniform guess",
              "not credible on sound that is held out: validation and training share recordings"),
        Check(TEXT, "mean quality of MusicGen", f"{told.one('quality', 'MusicGen'):.2f}", f"{quality:.2f}",
              "from its own tables"),
        Check(TEXT, "matches of 34, the fewest", f"{least:.0f}", f"{low:.0%} to {high:.0%}",
              "the 95% interval; of three answers, so chance is 33%"),
        Check(TEXT, "real-time factor", f"{factor:g}, half the pace of real time", f"{1 / factor:.1f} times real time",
              "seconds it takes to make a second, and of a batch, not of a clip"),
    ]  # fmt: skip


def n_parameters(shape: Mapping[str, int], n_layers: int, text_width: int) -> int:
    """Return the weights of a MusicGen language model: layers with attention to codes and to text, none with biases."""
    dim, codes = shape["dim"], shape["codebook size"]
    layer = 8 * dim**2 + 2 * shape["hidden scale"] * dim**2 + 3 * 2 * dim  # attentions, feed-forward, norms
    tables = shape["codebooks"] * (codes + 1) * dim + shape["codebooks"] * codes * dim
    return n_layers * layer + tables + 2 * dim + (text_width + 1) * dim
