"""The gap between speech and environmental sound, measured: two sets of clips side by side, as sound and as codes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.table_files import write_tables
from envsound.codec.base import Codec
from envsound.codec.codes import encode_recordings, load_codes
from envsound.data.recordings import Recordings
from envsound.metrics.effects import cliffs_delta
from envsound.metrics.measures import BANDS, MEASURES, SINGLE, Measure, measure_clip, sounding
from envsound.metrics.resampling import INTERVAL
from envsound.metrics.tests import capitalised
from envsound.studies.audit.code_measures import (
    check_clips,
    code_counts,
    entropy_bits,
    guessed_bits,
    halves,
    take_frames,
)

DOMAINS = ("speech", "environment")
CODE_MEASURES: dict[str, Measure] = {
    "entropy_bits": Measure("Entropy", "bit", "of how often each code occurs; all frames together"),
    "entropy_share": Measure("Entropy, share", "", "of the largest there can be, log2 of the codebook's size"),
    "bits_alone": Measure("Cross-entropy alone", "bit", "of held-out codes under how often each occurs"),
    "bits_previous": Measure("Cross-entropy after the frame before", "bit", "given the code before, same level"),
    "bits_above": Measure("Cross-entropy under the level above", "bit", "given the next coarser code, same frame"),
    "gained_previous": Measure("Gained from the frame before", "bit", "cross-entropy alone less that after it"),
    "gained_above": Measure("Gained from the level above", "bit", "cross-entropy alone less that under it"),
}
POOLED = ("entropy_bits", "entropy_share")  # of all frames together; the others are medians over clips
GAP_COLUMNS = [
    "measure", "unit", "statistic", "speech_kind", "environment_kind",
    *[f"{domain}{part}" for domain in DOMAINS for part in ("", "_low", "_high")],
    "cliffs_delta", "cliffs_delta_low", "cliffs_delta_high",
    *[f"{part}_{domain}" for part in ("n", "n_undefined") for domain in DOMAINS],
]  # fmt: skip
CODE_COLUMNS = ["level", *GAP_COLUMNS]


@dataclass(frozen=True)
class Kinds:
    """What the two sets of clips are, in words that go with every number: recorded or synthetic."""

    speech: str = "recorded speech"
    environment: str = "recorded environmental sound"


def kinds_of(speech_kind: str, dataset: str) -> Kinds:
    """Return the words for speech of a kind (`speech.speech_kind`) and a data set of `load_recordings`."""
    made = "synthetic" if dataset == "synthetic" else "recorded"
    return Kinds(speech_kind, f"{made} environmental sound")


@dataclass(frozen=True)
class GapReport:
    """gap and gap_codes as `acoustic_gap` and `code_gap` return them; clips: the measures of each clip; facts: for the
    provenance."""

    gap: pd.DataFrame
    gap_codes: pd.DataFrame
    clips: pd.DataFrame
    facts: dict[str, Any]

    def write(self, folder: str | Path) -> None:
        """Write gap.csv, gap_codes.csv and clips.csv."""
        write_tables(folder, {"gap": self.gap, "gap_codes": self.gap_codes, "clips": self.clips})


def compare(speech: np.ndarray, environment: np.ndarray, rng: np.random.Generator, n_resamples: int) -> dict[str, Any]:
    """Return medians, Cliff's delta and their 95% percentile intervals over resampled clips; keys as GAP_COLUMNS.

    speech, environment: a value for each clip; NaNs are left out and counted. Delta is above 0 where speech is higher.
    """
    values = [np.asarray(part, dtype=np.float64) for part in (speech, environment)]
    row: dict[str, Any] = {"statistic": "median over clips"}
    kept = [part[~np.isnan(part)] for part in values]
    for domain, part, defined in zip(DOMAINS, values, kept, strict=True):
        row |= {f"n_{domain}": defined.size, f"n_undefined_{domain}": part.size - defined.size}
    if not all(part.size for part in kept):
        return row
    drawn = [part[rng.integers(0, part.size, (n_resamples, part.size))] for part in kept]
    for domain, part, resampled in zip(DOMAINS, kept, drawn, strict=True):
        row[domain] = float(np.median(part))
        row[f"{domain}_low"], row[f"{domain}_high"] = np.percentile(np.median(resampled, axis=1), INTERVAL)
    deltas = [cliffs_delta(a, b) for a, b in zip(*drawn, strict=True)]
    row["cliffs_delta"] = cliffs_delta(*kept)
    row["cliffs_delta_low"], row["cliffs_delta_high"] = np.percentile(deltas, INTERVAL)
    return row


def acoustic_gap(
    speech: pd.DataFrame, environment: pd.DataFrame, kinds: Kinds, seed: int = 0, n_resamples: int = 1000
) -> pd.DataFrame:
    """Return gap.csv from two tables of `measure_clips`: a row for each of MEASURES, in columns GAP_COLUMNS."""
    rows = []
    for place, (name, measure) in enumerate(MEASURES.items()):
        rng = np.random.default_rng([seed, place])
        found = compare(speech[name].to_numpy(), environment[name].to_numpy(), rng, n_resamples)
        rows.append(_named(name, measure, kinds) | found)
    return pd.DataFrame(rows, columns=GAP_COLUMNS)


def code_gap(
    speech: Sequence[np.ndarray],
    environment: Sequence[np.ndarray],
    kinds: Kinds,
    groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    codebook_size: int = 1024,
    seed: int = 0,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """Return gap_codes.csv from the codes of two sets of clips, int [n_levels, n_frames] each.

    A row for each level and each of CODE_MEASURES, in columns CODE_COLUMNS. Entropies are of all frames; their 95%
    intervals come from resampled clips and are moved so that their mean is the estimate, since a resample misses rare
    codes and lies too low. Cross-entropies are of clips that the guessers were not fitted to, about half; `groups`
    names the group of every clip, which is never on both sides (each clip its own when None). Both depend on how much
    was counted, so the larger set is cut to as many frames as the smaller, for the entropies and for fitting.
    Raises InputError when a set holds fewer than two groups, or codes of another shape or size.
    """
    sets = dict(zip(DOMAINS, (speech, environment), strict=True))
    groups = groups or tuple(range(len(clips)) for clips in sets.values())
    for name, clips in sets.items():
        check_clips(clips, codebook_size, name)
    if speech[0].shape[0] != environment[0].shape[0]:
        raise InputError(f"codes: {speech[0].shape[0]} levels and {environment[0].shape[0]}; expected the same codec")
    entropies = _entropies(sets, codebook_size, seed, n_resamples)
    guesses = _guesses(sets, groups, codebook_size, seed)
    rows = []
    for level in range(speech[0].shape[0]):
        for place, (name, measure) in enumerate(CODE_MEASURES.items()):
            if name.endswith("above") and level == 0:
                continue
            rng = np.random.default_rng([seed, level, place])
            found = (
                _pooled(entropies, name, level, codebook_size)
                if name in POOLED
                else compare(*(guesses[domain][name][:, level] for domain in DOMAINS), rng, n_resamples)
            )
            rows.append({"level": level} | _named(name, measure, kinds) | found)
    return pd.DataFrame(rows, columns=CODE_COLUMNS)


def common_max_hz(*recordings: Recordings) -> float:
    """Return the highest frequency (Hz) that every usable clip of all recordings may hold: half the lowest rate."""
    rates = [r.report.loc[r.report["status"] != "bad", "sample_rate_hz"].min() for r in recordings]
    return float(min([*rates, *(r.sample_rate for r in recordings)])) / 2


def measure_gap(
    speech: Recordings,
    environment: Recordings,
    codec: Codec,
    kinds: Kinds,
    cache_dir: str | Path = "data/cache/codes",
    seed: int = 0,
    n_resamples: int = 1000,
    device: str | torch.device | None = None,
) -> GapReport:
    """Measure two sets of recordings, clip after clip, and their codes; see `acoustic_gap` and `code_gap`.

    Bands reach up to half the lowest rate among the sources. Digital silence before and after a sound is left out, with
    its frames; clips of nothing else are left out and counted. Folds, which hold speakers or sources together, are the
    groups of `code_gap`. Raises InputError as `code_gap` and `encode_recordings` do.
    """
    max_hz = common_max_hz(speech, environment)
    tables, codes = {}, {}
    facts: dict[str, Any] = {"data_cut": environment.cut, "speech_cut": speech.cut, "max_hz": max_hz}
    for domain, recordings in zip(DOMAINS, (speech, environment), strict=True):
        tables[domain], codes[domain] = _measure(domain, recordings, codec, cache_dir, max_hz, device)
        facts[f"n_{domain}"] = len(codes[domain])
        facts[f"n_silent_{domain}"] = len(recordings.table) - len(codes[domain])
        facts[f"seconds_{domain}"] = round(float(tables[domain]["seconds"].sum()), 1)
    facts |= {"speech_kind": kinds.speech, "environment_kind": kinds.environment}
    facts |= {"codec": codec.name, "codec_hash": codec.content_hash, "n_resamples": n_resamples}
    folds = tuple(tables[domain]["fold"].tolist() for domain in DOMAINS)
    return GapReport(
        gap=acoustic_gap(*tables.values(), kinds, seed, n_resamples),
        gap_codes=code_gap(*codes.values(), kinds, folds, codec.codebook_size, seed, n_resamples),
        clips=pd.concat(tables.values(), ignore_index=True),
        facts=facts,
    )


def findings_gap(gap: pd.DataFrame, gap_codes: pd.DataFrame) -> str:
    """Return Markdown sentences on the two tables: widest and narrowest gap, codes, and what was measured."""
    first = gap.iloc[0]
    ranked = gap[gap["measure"].isin([*BANDS, *SINGLE])].dropna(subset=["cliffs_delta"])
    ranked = ranked.sort_values("cliffs_delta", key=np.abs, kind="stable")
    if ranked.empty:
        return "No measure is defined on both sides, so no gap can be given."
    text = f"{capitalised(first['speech_kind'])} (n = {first['n_speech']}) against {first['environment_kind']} "
    text += f"(n = {first['n_environment']}): the widest gap is in **{_sentence(ranked.iloc[-1])}**; "
    text += f"the narrowest in {_sentence(ranked.iloc[0])}. {_code_sentences(gap_codes)}"
    made = [kind for kind in (first["speech_kind"], first["environment_kind"]) if kind.startswith("synthetic")]
    return text + (
        f" These numbers are of **{' and '.join(made)}** and say nothing about recordings of it." * bool(made)
    )


def _named(name: str, measure: Measure, kinds: Kinds) -> dict[str, str]:
    return {"measure": name, "unit": measure.unit, "speech_kind": kinds.speech, "environment_kind": kinds.environment}


def _measure(
    domain: str, recordings: Recordings, codec: Codec, cache_dir: str | Path, max_hz: float, device: Any
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Return the measures of each clip that is not silent, and its codes."""
    encoded = encode_recordings(recordings, codec, cache_dir, device)
    rows, codes = [], []
    for row in tqdm(encoded.itertuples(), total=len(encoded), desc=f"measuring {domain}", unit="clip"):
        clip = recordings.load(row.clip_id)
        part = sounding(clip)
        if part.start == part.stop:
            continue
        named = {"domain": domain, "filename": row.filename, "fold": row.fold, "category": row.category}
        seconds = (part.stop - part.start) / recordings.sample_rate
        rows.append(named | {"seconds": seconds} | measure_clip(clip, recordings.sample_rate, max_hz))
        frames = [codec.n_frames(part.start + 1) - 1, codec.n_frames(part.stop)]  # first and one past the last
        codes.append(load_codes(row.codes_file, codec.content_hash)[:, slice(*frames)])
    if not rows:
        raise InputError(f"{recordings.cut}: every clip is digital silence; expected sound to measure")
    return pd.DataFrame(rows), codes


def _entropies(
    sets: dict[str, Sequence[np.ndarray]], codebook_size: int, seed: int, n_resamples: int
) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Return for each domain the entropies [n_levels], their intervals [2, n_levels] and the number of clips."""
    n_frames = min(sum(clip.shape[1] for clip in clips) for clips in sets.values())
    found = {}
    for domain, clips in sets.items():
        counts = code_counts(take_frames(clips, n_frames, seed), codebook_size)
        rng, n = np.random.default_rng([seed, DOMAINS.index(domain)]), len(counts)
        weights = rng.multinomial(n, np.full(n, 1 / n), n_resamples).astype(np.float32)  # how often each clip is drawn
        whole = entropy_bits(counts.sum(0))
        resampled = np.stack(
            [entropy_bits(weights @ counts[:, level].astype(np.float32)) for level in range(counts.shape[1])], axis=1
        )
        found[domain] = whole, np.percentile(resampled, INTERVAL, axis=0) + whole - resampled.mean(0), n
    return found


def _pooled(entropies: dict[str, tuple], name: str, level: int, codebook_size: int) -> dict[str, Any]:
    """Return the row of an entropy: no share of clips is above another, so there is no Cliff's delta."""
    largest = np.log2(codebook_size)
    scale = largest if name == "entropy_share" else 1.0
    row: dict[str, Any] = {"statistic": "all frames together"}
    for domain, (whole, interval, n) in entropies.items():
        row[domain] = whole[level] / scale
        row[f"{domain}_low"], row[f"{domain}_high"] = np.clip(interval[:, level], 0, largest) / scale
        row |= {f"n_{domain}": n, f"n_undefined_{domain}": 0}
    return row


def _guesses(
    sets: dict[str, Sequence[np.ndarray]], groups: tuple[Sequence[Hashable], ...], codebook_size: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return for each domain the measures that are no entropies, float [n_clips, n_levels] over its held-out clips."""
    is_fitted = {name: halves(of, seed) for name, of in zip(sets, groups, strict=True)}
    fitted = {name: [c for c, fit in zip(clips, is_fitted[name], strict=True) if fit] for name, clips in sets.items()}
    n_frames = min(sum(clip.shape[1] for clip in clips) for clips in fitted.values())
    found = {}
    for name, clips in sets.items():
        held_out = [clip for clip, fit in zip(clips, is_fitted[name], strict=True) if not fit]
        bits = guessed_bits(take_frames(fitted[name], n_frames, seed), held_out, codebook_size)
        found[name] = {f"bits_{kind}": values for kind, values in bits.items()}
        found[name] |= {f"gained_{kind}": bits["alone"] - bits[kind] for kind in ("previous", "above")}
    return found


def _sentence(row: pd.Series) -> str:
    measure = MEASURES[row["measure"]]
    sides = [f"{row[d]:.3g} ({row[f'{d}_low']:.3g} to {row[f'{d}_high']:.3g})" for d in DOMAINS]
    unit = f" {measure.unit}" if measure.unit else ""
    return f"{measure.label}, {' against '.join(sides)}{unit}, Cliff's delta {row['cliffs_delta']:+.2f}"


def _code_sentences(gap_codes: pd.DataFrame) -> str:
    rows = gap_codes.set_index(["level", "measure"])
    pair = {key: " against ".join(f"{rows.loc[key, d]:.2f}" for d in DOMAINS) for key in rows.index}
    text = f"At the coarsest level codes have {pair[0, 'entropy_bits']} bits of entropy, and to know the code of the "
    text += f"frame before saves {pair[0, 'gained_previous']} bits on clips not fitted to"
    above = f"; at the next, to know that of the level above saves {pair[1, 'gained_above']}" if 1 in rows.index else ""
    return f"{text}{above}."
