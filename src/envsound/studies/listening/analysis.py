"""What listeners said: means with intervals, who is left out, confusions, and how far listeners agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from envsound.base.errors import InputError
from envsound.base.files import write_tables
from envsound.metrics.resampling import two_way_bootstrap
from envsound.metrics.tests import wilson
from envsound.studies.listening.answers import EMOTIONS, QUESTIONS, Answers
from envsound.studies.listening.material import ANCHOR, N_TEXTS, REFERENCE

ALL = "all"
CODECS_ALONE = "score of codecs alone"  # without the hidden reference and the anchor
LOWEST_REFERENCE = 90.0  # a hidden reference rated lower was not recognised
LARGEST_SHARE = 0.15  # of a listener's trials in which that may happen
SCREENING_COLUMNS = ["listener", "n_trials", "n_below", "share_below", "excluded"]
CODEC_COLUMNS = ["condition", "category", "n_listeners", "n_ratings", "mean", "low", "high"]
FIT_COLUMNS = ["question", "condition", "category", "n_listeners", "n_clips", "n_ratings", "mean", "low", "high"]
LABEL_COLUMNS = ["condition", "category", "n_answers", "n_right", "share", "low", "high", "chance"]
MATCH_COLUMNS = ["condition", "text", "n_answers", "n_right", "share", "low", "high", "chance", "quality", *EMOTIONS]
LEVELS = ("nominal", "interval")  # of Krippendorff's alpha
AGREEMENT_COLUMNS = ["task", "question", "level", "n_listeners", "n_items", "alpha"]


@dataclass(frozen=True)
class ListeningReport:
    """Every table of the analysis, as the functions of this module return them, and the answers they are about."""

    answers: Answers
    screening: pd.DataFrame
    codec: pd.DataFrame
    fit: pd.DataFrame
    label: pd.DataFrame
    match: pd.DataFrame
    confusion: pd.DataFrame
    agreement: pd.DataFrame

    def write(self, folder: str | Path) -> None:
        """Write each table as <name>.csv; the column made_up says in every row whether anybody listened."""
        tables = {name: getattr(self, name) for name in ("screening", "codec", "fit", "label", "match", "agreement")}
        tables["confusion"] = self.confusion.rename_axis("category").reset_index()
        made_up = self.answers.made_up
        write_tables(folder, {name: table.assign(made_up=made_up) for name, table in tables.items()})


def analyse(answers: Answers, seed: int = 0, n_resamples: int = 2000) -> ListeningReport:
    """Analyse the answers of a folder. Excluded listeners are left out of the codec task, and only there.

    Raises InputError for fewer than 1 resample.
    """
    screening = post_screening(answers.codec)
    kept = answers.codec[~answers.codec["listener"].isin(excluded(screening))]
    return ListeningReport(
        answers=answers,
        screening=screening,
        codec=codec_means(kept),
        fit=fit_means(answers.fit, seed, n_resamples),
        label=label_shares(answers.label, answers.categories, seed, n_resamples),
        match=match_shares(answers.match),
        confusion=confusion(answers.label, answers.categories),
        agreement=agreement_table(answers.label, answers.fit, kept),
    )


def post_screening(codec: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each listener of the codec task: how often the hidden reference was rated below 90.

    Excluded is who does that in more than 15% of the trials (ITU-R BS.1534-3, post-screening of assessors). Its second
    rule, on the mid-range anchor, does not apply: there is no such anchor here.
    """
    rows = []
    for listener, scores in codec[codec["condition"] == REFERENCE].groupby("listener")["score"]:
        n_below = int((scores < LOWEST_REFERENCE).sum())
        share = n_below / len(scores)
        rows.append([listener, len(scores), n_below, share, share > LARGEST_SHARE])
    return pd.DataFrame(rows, columns=SCREENING_COLUMNS).astype({"excluded": bool})


def excluded(screening: pd.DataFrame) -> list[str]:
    """Return the listeners that `post_screening` excludes."""
    return screening.loc[screening["excluded"], "listener"].tolist()


def t_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of values [n] and the ends of its 95% interval by Student's t; the ends are NaN for n < 2."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return (float("nan"),) * 3
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def codec_means(codec: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of every condition, over all clips (category "all") and by category.

    A listener's ratings of a condition are averaged first; mean and 95% t-interval are over listeners. The highest mean
    comes first.
    """
    rows = []
    for category, part in _all_and_each(codec):
        for condition, ratings in part.groupby("condition"):
            mean, low, high = t_interval(ratings.groupby("listener")["score"].mean().to_numpy())
            rows.append([condition, category, ratings["listener"].nunique(), len(ratings), mean, low, high])
    table = pd.DataFrame(rows, columns=CODEC_COLUMNS)
    overall = table[table["category"] == ALL].sort_values("mean", ascending=False)["condition"].tolist()
    return table.sort_values("condition", key=lambda names: names.map(overall.index), kind="stable").reset_index(
        drop=True
    )


def fit_means(fit: pd.DataFrame, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return the mean quality and fit (1 to 10) of every source of clips, over all and by category.

    Intervals are those of `two_way_bootstrap`; with a single clip or listener they say nothing of others.
    """
    rows, place = [], 0
    for question in QUESTIONS:
        for category, part in _all_and_each(fit):
            for condition, ratings in part.groupby("condition"):
                grid = _grid(ratings, question)
                rng = np.random.default_rng([seed, place])
                found = two_way_bootstrap(grid, rng, n_resamples)
                rows.append([question, condition, category, *grid.shape, len(ratings), *found])
                place += 1
    return pd.DataFrame(rows, columns=FIT_COLUMNS)


def label_shares(
    label: pd.DataFrame, categories: tuple[str, ...], seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """Return how often the sounds of every source are named rightly, over all and by category.

    Intervals are those of `two_way_bootstrap`, since answers of one listener, or about one clip, are not independent.
    Where all answers are right, or none is, resamples are all alike and the ends are NaN. chance: what guessing gives.
    """
    rows, place = [], 0
    for category, part in _all_and_each(label):
        for condition, answers in part.groupby("condition"):
            n, n_right = len(answers), int(answers["right"].sum())
            rng = np.random.default_rng([seed, place, len(QUESTIONS)])  # apart from those of `fit_means`
            share, *ends = two_way_bootstrap(_grid(answers, "right"), rng, n_resamples)
            ends = ends if 0 < n_right < n else [np.nan, np.nan]
            rows.append([condition, category, n, n_right, share, *ends, 1 / len(categories)])
            place += 1
    return pd.DataFrame(rows, columns=LABEL_COLUMNS)


def match_shares(match: pd.DataFrame) -> pd.DataFrame:
    """Return how often listeners matched each sound with the text it was made after, and the means of what they said.

    A row for each source and text, and for all of a source's: Wilson's interval of a sound is one over listeners; over
    all of them answers are not independent, so there is none. quality, EMOTIONS: means, 0 to 10.
    """
    rows = []
    for condition, answers in match.groupby("condition"):
        for text, part in [(ALL, answers), *answers.groupby("text")]:
            n, n_right = len(part), int(part["right"].sum())
            ends = (np.nan, np.nan) if text == ALL else wilson(n_right, n)
            means = part[["quality", *EMOTIONS]].mean()
            rows.append([condition, text, n, n_right, n_right / n, *ends, 1 / N_TEXTS, *means])
    return pd.DataFrame(rows, columns=MATCH_COLUMNS)


def confusion(label: pd.DataFrame, categories: tuple[str, ...]) -> pd.DataFrame:
    """Return how often a sound of each category (rows) was called what (columns)."""
    table = pd.crosstab(label["category"], label["answer"])
    return table.reindex(index=list(categories), columns=list(categories), fill_value=0).astype(int)


def agreement_table(label: pd.DataFrame, fit: pd.DataFrame, codec: pd.DataFrame) -> pd.DataFrame:
    """Return Krippendorff's alpha among listeners for every question: nominal for names, interval for ratings.

    The hidden reference and the anchor are made to be told apart, and agreement on them raises the alpha of the codec
    task: CODECS_ALONE leaves both out.
    """
    names = label.assign(answer=label["answer"].astype("category").cat.codes) if len(label) else label
    asked = [("label", "answer", "nominal", names), *(("fit", name, "interval", fit) for name in QUESTIONS)]
    codecs = codec[~codec["condition"].isin([REFERENCE, ANCHOR])]
    asked += [("codec", "score", "interval", codec), ("codec", CODECS_ALONE, "interval", codecs)]
    rows = []
    for task, question, level, table in asked:
        grid = _grid(table, "score" if task == "codec" else question)
        rows.append([task, question, level, *grid.shape, krippendorff_alpha(grid, level)])
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def krippendorff_alpha(ratings: np.ndarray, level: str) -> float:
    """Return Krippendorff's alpha of ratings [n_raters, n_units]; NaN marks what a rater did not judge.

    1 is agreement without exception, 0 what chance gives; it can be negative. level "nominal": values are names,
    written as numbers, that agree or not; "interval": disagreement is the squared difference. Units with fewer than
    two ratings say nothing and are left out. NaN when nothing is left or all ratings are the same. Krippendorff
    (2011), Computing Krippendorff's Alpha-Reliability. Raises InputError for another level or shape.
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    if level not in LEVELS:
        raise InputError(f"level={level!r}: expected one of {', '.join(LEVELS)}")
    if ratings.ndim != 2:
        raise InputError(f"ratings: shape {ratings.shape}; expected [n_raters, n_units]")
    units = [unit[~np.isnan(unit)] for unit in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        return float("nan")
    pairwise = _unequal_pairs if level == "nominal" else _squared_differences
    everything = np.concatenate(units)
    n = len(everything)
    observed = sum(pairwise(unit) / (len(unit) - 1) for unit in units) / n
    expected = pairwise(everything) / (n * (n - 1))
    return float(1 - observed / expected) if expected > 0 else float("nan")


def _all_and_each(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the whole table as category "all", then the part of each category."""
    yield ALL, table
    for category, part in table.groupby("category"):
        yield str(category), part


def _grid(table: pd.DataFrame, question: str) -> np.ndarray:
    """Return answers as float [n_listeners, n_items], NaN where there is none."""
    return table.pivot(index="listener", columns="item", values=question).to_numpy(dtype=np.float64)


def _unequal_pairs(values: np.ndarray) -> float:
    """Return how many ordered pairs of values differ."""
    _, counts = np.unique(values, return_counts=True)
    return float(len(values) ** 2 - (counts**2).sum())


def _squared_differences(values: np.ndarray) -> float:
    """Return the sum of (a - b)^2 over all ordered pairs of values."""
    return float(2 * len(values) * ((values - values.mean()) ** 2).sum())
