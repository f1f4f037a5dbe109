"""The book's chapter on the evaluation: what notebooks 14 and 17 found of every published run, from its tables."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import write_text
from envsound.base.text import dropdown, markdown_table, number, wide
from envsound.evaluation.controls import CEILING, SYSTEMS
from envsound.evaluation.diversity import ALL, MEAN
from envsound.evaluation.seeds import QUANTITIES, findings_seeds, shown
from envsound.evaluation.tables import telling_apart
from envsound.metrics.effects import COLUMNS
from envsound.metrics.extended import PER_CLIP
from envsound.metrics.tests import ALPHA, N_SWAPS, PAIRED
from envsound.report.assets import Assets
from envsound.report.figures_evaluation import SYSTEM_LOOKS
from envsound.report.listener_findings import (
    ROLE_WORDS,
    findings_copies,
    findings_distances,
    findings_training,
    findings_truth,
    worst_heard,
)
from envsound.report.runs import Run

NOT_RUN = "*Not run here: no published run has this yet.*"
FIGURES = {
    "evaluation_overview": "Every metric of every system: Cliff's delta, bold where a test tells it from real clips.",
    "evaluation_diversity": "How far two clips of one class lie apart, real clips being 1; bars are 95% intervals.",
    "listener_distances": "Distances between embeddings, by system; lines mark floor and ceiling, squares chance.",
    "listener_confusion": "What the network hears of what was asked for, in numbers of clips: real and generated.",
    "listener_nearest": "Relative distance to the nearest training clip, cumulated over clips.",
}
SHARES = ("precision", "recall")
TRIVIAL = ("shuffled", "bigram", "unigram", "noise")  # systems that need no model, and do not repeat one clip
SCOPES = {ALL: "Two clips of any class", MEAN: "Two clips of one class"}
COMPARED = [name for name in SYSTEMS if name != "real"]


class EvaluationChapter:
    """Writes the fragments of the chapter, executed/evaluation/<name>.txt, from data/published.

    A published run is any folder with evaluation.csv or distances.csv; each has rows of its own in every table. What
    no run has is a line that says so.
    """

    def __init__(self, published: str | Path, assets: Assets, book_dir: str | Path) -> None:
        self.assets, self.book_dir = assets, Path(book_dir)
        folders = [path for path in sorted(Path(published).glob("*/")) if (path / "provenance.json").is_file()]
        has_result = [any((path / f"{name}.csv").is_file() for name in ("evaluation", "distances")) for path in folders]
        self.runs = [Run(path) for path, ok in zip(folders, has_result, strict=True) if ok]

    def stage(self) -> None:
        """Write every fragment."""
        parts: dict[str, Callable[[], list[str]]] = {
            "runs": self.origins, "apart": self.apart, "diversity": self.diversity, "distances": self.distances,
            "truth": self.truth, "training": self.training, "classes": self.classes, "memorisation": self.memorisation,
            "seeds": self.seeds,
        }  # fmt: skip
        for name, lines in parts.items():
            text = "\n".join(lines() or [NOT_RUN]) + "\n"
            write_text(self.book_dir / "executed" / "evaluation" / f"{name}.txt", text)

    def origins(self) -> list[str]:
        """Return a list of the runs: data, fold, seed, machine; each links to its page, which names the commits."""
        lines = []
        for run in self.runs:
            origin, name = run.origin, run.folder.name
            cut, fold, seed, device = (_text(origin.get(key)) for key in ("data_cut", "fold", "seed", "device"))
            link = f"[{name}](executed/published_{name}.md)"
            lines.append(f"- {link}: {cut}; held-out fold {fold}, training seed {seed}; {device}")
        return lines

    def apart(self) -> list[str]:
        """Return how many metrics tell each system from real clips, and in which the model fails."""
        rows, words = [], []
        for run in self._with("evaluation"):
            table = run.table("evaluation.csv").reindex(columns=COLUMNS)
            counts = telling_apart(table).set_index("system")
            models = list(counts[counts.index == "generated"].itertuples())
            for model in models:
                cells = [_count(counts, name) if name != "generated" else str(model.n_apart) for name in COMPARED]
                rows.append([str(model.run), str(model.n_tests), *cells])
                words += [*failures(table, counts, model), ""]
            tested = dict.fromkeys(sizes(counts, model) for model in models)  # the same of every training seed, mostly
            words += [*tested, "", *self._figure(run, "evaluation_overview")]
        header = ["model", "metrics tested", *[SYSTEM_LOOKS[name][0] for name in COMPARED]]
        return [*wide(markdown_table(header, rows)), *words] if rows else []

    def diversity(self) -> list[str]:
        """Return how far the clips of every system lie apart, beside real ones."""
        rows, figures, words = [], [], []
        for run in self._with("diversity"):
            table = run.table("diversity.csv")
            for scope in (ALL, MEAN):
                of_scope = table[table["category"] == scope].set_index("system")
                for model in of_scope[of_scope.index == "generated"].to_dict("records"):
                    cells = [model if name == "generated" else _first(of_scope, name) for name in COMPARED]
                    rows.append([model["run"], scope, *[_interval(cell, "ratio", "{:.2f}") for cell in cells]])
                    apart = f"**{model['ratio']:.2f}** times as far apart as real ones"
                    words.append(f"{SCOPES[scope]} of {model['run']} lie {apart}.")
            figures += self._figure(run, "evaluation_diversity")
        header = ["model", "over", *[SYSTEM_LOOKS[name][0] for name in COMPARED]]
        return [" ".join(words), "", *wide(markdown_table(header, rows)), *figures] if rows else []

    def distances(self) -> list[str]:
        """Return every distance between embeddings, after a sentence for each embedding."""
        lines, rows = [], []
        for run in self._with("distances"):
            table = run.table("distances.csv")
            lines += [f"**{run.folder.name}**", "", findings_distances(table), ""]
            lines += self._figure(run, "listener_distances")
            for row in table[table["side"] != ""].to_dict("records"):
                values = [number(row[name], 3) for name in ("kad_chance", "fad", "fad_infinity", "fad_infinity_both")]
                shares = [_interval(row, name, "{:.2f}") for name in SHARES]
                words = SYSTEM_LOOKS[row["side"]][0]
                cells = [run.folder.name, row["embedding"], words, f"{row['n']:.0f}", _interval(row, "kad", "{:.2f}")]
                rows.append([*cells, *values, *shares])
        header = ["run", "embedding", "system", "n", "KAD", "chance", "FAD", "FAD∞", "FAD∞, both", *SHARES]
        return [*lines, *_folded(markdown_table(header, rows))] if rows else lines

    def truth(self) -> list[str]:
        """Return what share of every system's clips is heard as what was asked for."""
        lines, rows = [], []
        for run in self._with("class_truth"):
            table = run.table("class_truth.csv")
            lines += [f"**{run.folder.name}**", "", findings_truth(table), ""]
            unheard = worst_heard(table)
            if unheard:
                names = ", ".join(name.replace("_", " ") for name in unheard)
                lines += [f"The network hears none of the clips that were asked to be: {names}.", ""]
            lines += self._figure(run, "listener_confusion")
            whole = table[table["category"] == ""]
            for classifier, of in whole.groupby("classifier", sort=False):
                sides = of.set_index("side")
                cells = [_interval(_first(sides, name), "accuracy", "{:.0%}") for name in SYSTEMS]
                rows.append([run.folder.name, f"{classifier} ({of['role'].iloc[0]})", *cells])
        header = ["run", "listener", *[SYSTEM_LOOKS[name][0] for name in SYSTEMS]]
        return [*lines, ROLE_WORDS, "", *wide(markdown_table(header, rows))] if rows else []

    def training(self) -> list[str]:
        """Return how well listeners do that learnt from generated clips."""
        lines = []
        for run in self._with("class_training"):
            lines += [f"**{run.folder.name}**", "", findings_training(run.table("class_training.csv")), ""]
        return lines

    def classes(self) -> list[str]:
        """Return a row for each class: what the network hears, and the kernel distances."""
        lines = []
        for run in self._with("distances_by_class"):
            distances = run.table("distances_by_class.csv")
            mine = distances[distances["side"] == "generated"]
            kad = {name: rows.set_index("category") for name, rows in mine.groupby("embedding", sort=False)}
            heard = run.table("class_truth.csv")
            heard = heard[(heard["classifier"] == "cnn") & (heard["category"] != "")] if len(heard) else heard
            heard = {side: rows.set_index("category") for side, rows in heard.groupby("side")} if len(heard) else {}
            rows = []
            for category in sorted(set(mine["category"])):
                shares = [_share(heard, side, category) for side in ("real", "codec", "generated")]
                rows.append([category.replace("_", " "), *shares, *(_kad(table, category) for table in kad.values())])
            header = ["class", *(f"heard: {side}" for side in ("real", "codec", "model")), *(f"KAD: {n}" for n in kad)]
            lines += [f"**{run.folder.name}**", "", *wide(markdown_table(header, rows))] if rows else []
        return lines

    def memorisation(self) -> list[str]:
        """Return the verdicts on copies, the model's and the controls'."""
        lines, rows = [], []
        for run in self._with("memorisation"):
            table = run.table("memorisation.csv")
            lines += [f"**{run.folder.name}**", "", findings_copies(table), ""]
            lines += self._figure(run, "listener_nearest")
            for row in table[table["side"] != ""].to_dict("records"):
                medians = [f"{row[name]:.2f}" for name in ("relative", "relative_held_out", "nearer")]
                nearest = f"{row['n_nearest']:.0f} ({row['n_nearest_expected']:.1f})"
                found = "found out" if str(row["copies_found"]) == "True" else "not found"
                cells = [run.folder.name, MEMORISED[row["side"]], row["space"], f"{row['n']:.0f}"]
                rows.append([*cells, *medians, nearest, number(row["p_holm"], 2), found])
        header = ["run", "clips", "space", "n", "relative", "held out", "nearer", "nearest of all (by chance)"]
        return [*lines, *wide(markdown_table([*header, "p (Holm)", "copies"], rows))] if rows else []

    def seeds(self) -> list[str]:
        """Return what listeners say over training seeds; of a run with one seed, that there is one."""
        lines = []
        for run in self._with("listener_seeds"):
            table = run.table("listener_seeds.csv")
            lines += [f"**{run.folder.name}**", "", findings_seeds(table), ""]
            if table["n_runs"].max() > 1:
                numbers = [name for name in table if name not in ("quantity", "judge", "n_runs")]
                header = ["quantity", "judge", *[name.replace("_", " ") for name in numbers], "runs"]
                rows = []
                for row in table.to_dict("records"):
                    values = [shown(row["quantity"], row[name]) for name in numbers]
                    rows.append([QUANTITIES[row["quantity"]], row["judge"], *values, f"{row['n_runs']:.0f}"])
                lines += _folded(markdown_table(header, rows))
        return lines

    def _with(self, name: str) -> list[Run]:
        return [run for run in self.runs if (run.folder / f"{name}.csv").is_file()]

    def _figure(self, run: Run, name: str) -> list[str]:
        page = self.book_dir / "evaluation.md"
        link = self.assets.link(run.folder / "figures" / f"{name}.png", f"published-{run.folder.name}", page)
        words = FIGURES[name]
        return [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""] if link else []


MEMORISED = {
    "generated": "model",
    "copied_codec": "training clips through the codec",
    "copy": "one training clip a class, through the codec",
    "copied": "training clips themselves",
}


def failures(table: pd.DataFrame, counts: pd.DataFrame, model: Any) -> list[str]:
    """Return what tells a model from real clips, metric by metric, and what of it the codec does as well.

    table: evaluation.csv; counts: `evaluation_report.telling_apart` by system; model: its row of that.
    """
    mine = table[(table["system"] == "generated") & (table["run"] == model.run)].set_index("metric")
    named = [f"{PER_CLIP[name].label} ({mine.loc[name, 'cliffs_delta']:+.2f})" for name in model.apart]
    if not named:
        return [f"**{model.run}**: none of {model.n_tests} metrics tells the model from real clips at these n."]
    text = f"**{model.run} fails in {model.n_apart} of {model.n_tests} metrics** (n = {model.n} against {model.n_real} "
    text += f"real clips), the widest distance first, with Cliff's delta: {', '.join(named)}."
    codec = _first(counts, CEILING)
    if codec is not None:
        text += _codec_sentence(table[table["system"] == CEILING].set_index("metric")["ks"], mine["ks"], codec, model)
    rivals = counts[counts.index.isin(TRIVIAL) & (counts["n_apart"] <= model.n_apart)]
    named = [f"{SYSTEM_LOOKS[name][0]} in {row['n_apart']} (n = {row['n']})" for name, row in rivals.iterrows()]
    return [f"{text} Systems that need no model and fail in no more: {', '.join(named) or 'none'}."]


def sizes(counts: pd.DataFrame, model: Any) -> str:
    """Return how many clips of each system were tested, and how, as counts of failures depend on it.

    counts, model: as for `failures`.
    """
    others = counts.loc[[name for name in COMPARED if name != "generated" and name in counts.index], "n"]
    listed = [f"{SYSTEM_LOOKS[name][0]} {n}" for name, n in others.items()]
    if others.nunique() == 1:
        listed = [f"every other system {others.iloc[0]}"]
    text = f"Clips tested against {model.n_real} real ones: {'; '.join([f'model {model.n}', *listed])}."
    if {model.n, *others} != {model.n}:
        text += " More clips tell more apart, so counts compare only where these numbers are equal."
    if (counts["test"] == PAIRED).any():
        text += " The ceiling's clips are the real ones through the codec, each tested beside its own original by "
        text += f"{N_SWAPS:,} random exchanges within pairs, which finds smaller changes."
    return text


def _codec_sentence(of_codec: pd.Series, of_model: pd.Series, codec: dict[str, Any], model: Any) -> str:
    """Return which of the model's failures the codec has a part in; of_codec, of_model: D by metric."""
    how = f"{codec['n']} pairs, paired test" if codec["test"] == PAIRED else f"n = {codec['n']}"
    shared = [name for name in model.apart if name in codec["apart"]]
    if not shared:
        return f" The codec alone changes none of these ({how})."
    listed = ", ".join(f"{PER_CLIP[name].label} {of_codec[name]:.2f} beside {of_model[name]:.2f}" for name in shared)
    text = f" The codec alone changes {len(shared)} of these ({how}), with its distance D beside the model's: {listed}."
    return f"{text} So much may not be the model's doing."


def _first(table: pd.DataFrame, key: str) -> Any:
    """Return the first row of a key in the index as a dictionary; None when there is none."""
    rows = table[table.index == key]
    return None if rows.empty else rows.iloc[0].to_dict()


def _count(counts: pd.DataFrame, system: str) -> str:
    row = _first(counts, system)
    return "–" if row is None else str(row["n_apart"])


def _share(heard: dict[str, pd.DataFrame], side: str, category: str) -> str:
    if side not in heard or category not in heard[side].index:
        return "–"
    row = heard[side].loc[category]
    return f"{row['n_right']:.0f} of {row['n']:.0f}"


def _kad(table: pd.DataFrame, category: str) -> str:
    """Return the kernel distance of a class, bold where it is told from real clips."""
    if category not in table.index or pd.isna(table.loc[category, "kad"]):
        return "–"
    row = table.loc[category]
    return f"**{row['kad']:.2f}**" if row["kad_p_adjusted"] < ALPHA else f"{row['kad']:.2f}"


def _interval(row: Any, name: str, form: str) -> str:
    """Return a number of a row with its 95% interval, "–" where there is none."""
    if row is None or pd.isna(row[name]):
        return "–"
    low, high = (row.get(f"{name}_{end}", row.get(end)) for end in ("low", "high"))
    ends = "" if pd.isna(low) or pd.isna(high) else f" ({form.format(low)} to {form.format(high)})"
    return form.format(row[name]) + ends


def _folded(table: Sequence[str]) -> list[str]:
    return dropdown("Every number", wide(list(table)))


def _text(value: Any) -> str:
    return "not recorded" if value in (None, "") else str(value)
