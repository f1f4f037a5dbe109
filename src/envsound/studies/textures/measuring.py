"""Texture models on held-out recordings: what they keep, what lies between two sounds, and what they make anew."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from torch.nn import functional as F

from envsound.base.files import read_json
from envsound.codec import Codec
from envsound.codec.spectra import frame_spectra
from envsound.codec.systems import through_codec
from envsound.codec.training.losses import level_difference
from envsound.data.folds import recorded, split_folds
from envsound.data.listing import recording_of
from envsound.evaluation.compare import measure_side
from envsound.evaluation.copies import Coded, codings, copies_beside_chains
from envsound.evaluation.diversity import MEAN, diversity_table
from envsound.evaluation.listeners.shipped import load_shipped, mean_probabilities
from envsound.evaluation.memorisation import LOG_MEL, level_distances, level_map, memorisation_table, neighbour_table
from envsound.evaluation.sides import MODEL, REAL, from_clips
from envsound.evaluation.spaces.distances import frechet_distance, measure_distances
from envsound.evaluation.spaces.embeddings import Reduced, StatisticsEmbedding, embed_clips
from envsound.metrics.acoustic import ACOUSTIC
from envsound.metrics.tests import ALPHA, ks_table
from envsound.systems.base import Request, System
from envsound.systems.kept import Sounds, load_sounds
from envsound.systems.textures.synths import filter_noise
from envsound.systems.textures.training import linear_mstft

FRAME, HOP, SMOOTH = 512, 128, (9, 5)  # samples, and frames and bins over which the oracle's spectrum is a mean
SILENCE, ANOTHER, ORACLE, CODEC = "silence", "another recording", "oracle noise", "codec"
FLOOR, OWN_CEILING = "recordings learnt", ": what it keeps"
STEP_SECONDS, N_STEPS, N_RENDERINGS = 0.05, 20, 8  # of centroid curves: s, steps in a second, and noises they average
STEP_TRAIN = "02_train_model"


def run_sounds(run: Path) -> tuple[Sounds, Sounds]:
    """Return the sounds that a run learnt, and those it held out."""
    given = read_json(run / "provenance.json")["steps"][STEP_TRAIN]["parameters"]
    return load_sounds(given | {"validation_fold": 0}, run)


def in_seconds(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the whole seconds of a clip, float32 [n_seconds, sample_rate]."""
    return clip[: len(clip) // sample_rate * sample_rate].reshape(-1, sample_rate)


def oracle_noise(clip: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return noise shaped by a clip's own spectrogram, smoothed: what a noise synthesizer does when it knows all."""
    spectra = frame_spectra(torch.from_numpy(clip)[None], torch.hann_window(FRAME), HOP, FRAME // 2 + 1)
    power = spectra.abs().square() / torch.hann_window(FRAME).square().sum()
    padded = F.pad(power[:, None], (SMOOTH[1] // 2,) * 2 + (SMOOTH[0] // 2,) * 2, mode="replicate")
    smooth = F.avg_pool2d(padded, SMOOTH, stride=1)[:, 0]
    return filter_noise(smooth.sqrt(), HOP, torch.Generator().manual_seed(seed))[0, : len(clip)].numpy()


def reconstruction_table(
    held_out: Sounds, learnt: Sounds, systems: Mapping[str, System], codec: Codec | None, seed: int = 0
) -> pd.DataFrame:
    """Return how far seconds of held-out recordings are from what systems, and what needs none, keep of them.

    A row for each class and side: n (seconds), mstft (see `training.linear_mstft`), relative (to that of silence),
    level_db (how much louder, median), fad (Fréchet distance to the seconds themselves, in statistics of log-mel
    brought to fewer dimensions by what was learnt; not VGGish, the source's, which hears up to 8 kHz). Sides that are
    no system: silence, another recording of the class among those learnt, noise that knows the spectrogram (the floor
    of any noise synthesizer), and a codec, where one is given.
    """
    rng, rate, rows = np.random.default_rng(seed), held_out.sample_rate, []
    for category in sorted(set(held_out.categories)):
        real, others = held_out.of_class(category), learnt.of_class(category)
        sides: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            SILENCE: np.zeros_like,
            ANOTHER: lambda clip, some=others: _as_long(some[rng.integers(len(some))], len(clip)),
            ORACLE: oracle_noise,
        }
        sides |= {CODEC: partial(through_codec, codec=codec)} if codec else {}
        sides |= {name: system.reconstruct for name, system in systems.items()}
        seconds = torch.from_numpy(np.concatenate([in_seconds(clip, rate) for clip in real]))
        silence = float(linear_mstft(seconds, torch.zeros_like(seconds), rate))
        space = _space(others, category, rate)
        points = {REAL: _embedded(seconds.numpy(), category, space, rate)}
        for name, change in sides.items():
            kept = torch.from_numpy(np.concatenate([in_seconds(change(clip), rate) for clip in real]))
            distance, level = float(linear_mstft(seconds, kept, rate)), level_difference(seconds, kept)
            shared = {"category": category, "side": name, "n": len(seconds)}
            points[name] = _embedded(kept.numpy(), category, space, rate)
            fad = frechet_distance(points[REAL], points[name])
            rows.append(shared | {"mstft": distance, "relative": distance / silence, "level_db": level, "fad": fad})
    return pd.DataFrame(rows)


def _space(clips: Sequence[np.ndarray], category: str, rate: int) -> Reduced:
    seconds = np.concatenate([in_seconds(clip, rate) for clip in clips])
    sources = from_clips(seconds, [category] * len(seconds), rate)
    return Reduced(StatisticsEmbedding(), embed_clips(sources, StatisticsEmbedding(), rate, "train").vectors)


def _embedded(seconds: np.ndarray, category: str, space: Reduced, rate: int) -> np.ndarray:
    return embed_clips(from_clips(seconds, [category] * len(seconds), rate), space, rate, category).vectors


def leak_table(sounds: Sounds, held_out: Sounds, share: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Return how near seconds of test are to seconds of training, split at random over seconds and by recording.

    A row for each class and split: n_test, same_recording (share of test seconds whose recording also trains), nearest
    (dB, median): root mean square difference of mean levels in mel bands to the nearest second of training.
    """
    rng, rate, rows = np.random.default_rng(seed), sounds.sample_rate, []
    for category in sorted(set(sounds.categories)):
        parts = [
            [(name, part) for name, clip, own in zip(side.names, side.clips, side.categories, strict=True)
             if own == category for part in in_seconds(clip, rate)]
            for side in (sounds, held_out)
        ]  # fmt: skip
        whole = [*parts[0], *parts[1]]
        chosen = rng.permutation(len(whole)) < share * len(whole)
        mixed = [[one for one, test in zip(whole, chosen, strict=True) if test == side] for side in (False, True)]
        splits = {"by recording": parts, "random over seconds": mixed}
        for split, (train, test) in splits.items():
            levels = [np.stack([level_map(part, rate).mean(1) for _, part in side]) for side in (train, test)]
            near = cdist(levels[1], levels[0]).min(1) / np.sqrt(levels[0].shape[1])
            known = {recording_of(name) or name for name, _ in train}
            same = np.mean([(recording_of(name) or name) in known for name, _ in test])
            shared = {"category": category, "split": split, "n_test": len(test)}
            rows.append(shared | {"same_recording": same, "nearest": float(np.median(near))})
    return pd.DataFrame(rows)


def interpolation_table(
    held_out: Sounds, systems: Mapping[str, Any], n_pairs: int = 4
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what lies between two recordings, by system and pair, and the spectral centroids behind that.

    A second of each of two recordings of one class is encoded; between their paths a second is interpolated from the
    last latents of one to the first of the other, and all three are decoded. Pairs join the recordings with the lowest
    and the highest centroid, then the second lowest and highest. First table: from_hz, middle_hz, to_hz (medians of the
    centroids of a second), spearman (of the centroid with time in the middle second, positive towards the other end),
    roughness (standard deviation of steps of the centroid there, over that of the two recordings themselves). Second:
    system, pair, time (s), centroid (Hz), every 50 ms, a mean over renderings with other noise.
    """
    rows, curves, rate = [], [], held_out.sample_rate
    for category in sorted(set(held_out.categories)):
        clips = sorted(held_out.of_class(category), key=lambda clip: float(np.median(centroids(clip, rate))))
        for place in range(min(n_pairs, len(clips) // 2)):
            ends = [clips[place][:rate], clips[-1 - place][:rate]]
            real = np.concatenate([np.diff(centroids(end, rate)) for end in ends])
            for name, system in systems.items():
                before, after = (system.encode(end) for end in ends)
                weights = np.linspace(0, 1, before.shape[1], dtype=np.float32)
                middle = before[:, -1:] * (1 - weights) + after[:, :1] * weights
                path = np.concatenate([before, middle, after], 1)
                found = [centroids(system.sound(path, seed)[: 3 * rate], rate) for seed in range(N_RENDERINGS)]
                curve = np.mean(found, 0)
                parts = np.split(curve[: 3 * N_STEPS], 3)
                medians = [float(np.median(part)) for part in parts]
                rising = pd.Series(parts[1]).corr(pd.Series(np.arange(N_STEPS)), method="spearman")
                rough = np.diff([one[N_STEPS : 2 * N_STEPS] for one in found]).std() / real.std()
                shared = {"category": category, "pair": place, "system": name}
                ends_hz = dict(zip(("from_hz", "middle_hz", "to_hz"), medians, strict=True))
                rising *= np.sign(medians[2] - medians[0])
                rows.append(shared | ends_hz | {"spearman": rising, "roughness": rough})
                times = (np.arange(len(curve)) + 0.5) * STEP_SECONDS
                curves.append(pd.DataFrame(shared | {"time": times, "centroid": curve}))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def centroids(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the spectral centroid (Hz, of power) of every 50 ms of a clip."""
    size = round(STEP_SECONDS * sample_rate)
    power = np.abs(np.fft.rfft(clip[: len(clip) // size * size].reshape(-1, size) * np.hanning(size))) ** 2
    return power @ np.fft.rfftfreq(size, 1 / sample_rate) / np.maximum(power.sum(1), 1e-12)


def generation_table(
    systems: Mapping[str, System], rows: pd.DataFrame, learnt: Sounds, held_out: Sounds, codec: Codec,
    cache_dir: Path, n_clips: int = 40, seed: int = 0, ceilings: Sequence[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Return a row for each system, for recordings of training folds (floor) and for held-out ones through the codec.

    And a table of what is heard by class: system, category, n, heard.

    rows: codes.csv of the run that all share; ceilings: systems through which held-out recordings go, too: what their
    representation keeps, the ceiling of any prior. Every system is asked for the same classes, lengths and seeds.
    heard: share that the classifier that ships, which may refuse, hears as what was asked for; kad, precision, recall:
    from held-out recordings, in statistics of log-mel; n_apart and largest_ks: acoustic metrics told apart (Holm), of
    n_metrics, and the largest distance; share_median, run_p90 (columns), n_copies: of codes equal to one training clip
    (see `evaluation.copies`); logmel_copies: whether copies are found in log-mel; diversity: over real;
    real_time_factor: seconds it takes to make a second.
    """
    rate, categories = held_out.sample_rate, sorted(set(held_out.categories))
    seconds = min(len(clip) for clip in held_out.clips) / rate
    asked = [Request("", categories[n % len(categories)], seconds, seed + n) for n in range(n_clips)]
    drawn = np.random.default_rng(seed).permutation(len(learnt.clips))[:n_clips]
    floor = [learnt.clips[place] for place in drawn], [learnt.categories[place] for place in drawn]
    sides = {REAL: (held_out.clips, held_out.categories), FLOOR: floor,
             CODEC: ([through_codec(clip, codec) for clip in held_out.clips], held_out.categories)}  # fmt: skip
    pace = {}
    for name, system in systems.items():
        started = time.perf_counter()
        sides[name] = ([*system.generate(asked)], [one.category for one in asked])
        pace[name] = (time.perf_counter() - started) / (n_clips * seconds)
    for name in ceilings:
        kept = [systems[name].reconstruct(clip) for clip in held_out.clips]
        sides[f"{name}{OWN_CEILING}"] = kept, held_out.categories
    sources = {name: from_clips(*side, rate) for name, side in sides.items()}
    reference = embed_clips(from_clips(learnt.clips, learnt.categories, rate), StatisticsEmbedding(), rate, "train")
    reduced = Reduced(StatisticsEmbedding(), reference.vectors)
    found = measure_distances(sources, [reduced], rate, seed, by_class=False).set_index("side")
    measured = {name: measure_side(some, name, rate) for name, some in sources.items()}
    train, held = split_folds(rows, *_folds(rows, held_out))
    table, by_class = [], []
    for name, (clips, classes) in sides.items():
        heard = pd.DataFrame({"category": list(classes), "heard": _heard(clips, classes)})
        counted = heard.groupby("category")["heard"].agg(["size", "mean"]).reset_index()
        by_class.append(counted.set_axis(["category", "n", "heard"], axis=1).assign(system=name))
        if name == REAL:
            continue
        row = {"system": name, "n": len(clips), "heard": heard["heard"].mean(), "real_time_factor": pace.get(name)}
        row |= found.loc[name, ["kad", "kad_low", "kad_high", "precision", "recall"]].to_dict()
        row |= _apart(measured[REAL], measured[name]) | {"diversity": _diversity(measured[REAL], measured[name])}
        coded = [Coded("", own, codings(clip, codec)) for clip, own in zip(clips, classes, strict=True)]
        _, copied = copies_beside_chains(coded, recorded(train), recorded(held), codec, seed, cache_dir)
        row |= copied.set_index("side").loc[MODEL, ["share_median", "run_p90", "n_copies"]].to_dict()
        table.append(row | {"logmel_copies": _found_in_log_mel(clips, classes, learnt, held_out)})
    return pd.DataFrame(table), pd.concat(by_class, ignore_index=True)[["system", "category", "n", "heard"]]


def _folds(rows: pd.DataFrame, held_out: Sounds) -> tuple[int, list[int]]:
    return int(rows.loc[rows["clip_id"] == held_out.names[0], "fold"].iloc[0]), []


def _heard(clips: Sequence[np.ndarray], categories: Sequence[str]) -> list[bool]:
    listener = load_shipped()
    heard = [listener.categories[int(mean_probabilities(listener, clip).argmax())] for clip in clips]
    return [one == own for one, own in zip(heard, categories, strict=True)]


def _apart(real: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    both = pd.concat([real.assign(side=REAL), other.assign(side=MODEL)], ignore_index=True)
    ks = ks_table(both, ["generated_vs_real"])
    ks = ks[ks["note"].fillna("") == ""]
    return {"n_apart": int((ks["p_holm"] < ALPHA).sum()), "n_metrics": len(ks), "largest_ks": ks["statistic"].max()}


def _diversity(real: pd.DataFrame, other: pd.DataFrame) -> float:
    both = pd.concat([real.assign(system="real", run=""), other.assign(system=MODEL, run="")], ignore_index=True)
    table = diversity_table(both, [name for name in ACOUSTIC if name in both], n_resamples=10)
    return float(table[(table["system"] == MODEL) & (table["category"] == MEAN)]["ratio"].iloc[0])


def _found_in_log_mel(clips: Sequence[np.ndarray], categories: Sequence[str], learnt: Sounds, held_out: Sounds) -> bool:
    known = [level_map(clip, learnt.sample_rate) for clip in learnt.clips]
    named = pd.DataFrame({"clip": learnt.names, "category": learnt.categories})
    near = []
    for side, some, own in ((REAL, held_out.clips, held_out.categories), (MODEL, clips, categories)):
        maps = [level_map(clip, learnt.sample_rate) for clip in some]
        rows = pd.DataFrame({"clip": range(len(some)), "category": list(own)})
        near.append(neighbour_table(level_distances(maps, known), rows, named, side, LOG_MEL))
    return bool(memorisation_table(pd.concat(near, ignore_index=True))["copies_found"].iloc[0])


def _as_long(clip: np.ndarray, n_samples: int) -> np.ndarray:
    return np.resize(clip, n_samples).astype(np.float32)
