"""The masked model and the language model on the same codes: what judges hear, distances, copies, time, and cost.

And how clips are drawn: the same few settings tried for both.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, write_ogg
from envsound.base.text import slug
from envsound.codec import Codec, load_codec
from envsound.data.audio import SAMPLE_RATE, read_clip
from envsound.data.folds import recorded, training_sets
from envsound.evaluation.controls import draw_like, make_controls
from envsound.evaluation.judges import CNN, TRAINING, B, teach_judges
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.evaluation.overview import COLUMNS, DISTANCES, measure, said
from envsound.evaluation.sides import REAL, from_clips, from_rows, recordings_of, samples_of
from envsound.evaluation.spaces.distances import measure_distances
from envsound.evaluation.spaces.embeddings import KeptEmbedding, Reduced, StatisticsEmbedding, embed_clips
from envsound.run.record import read_settings
from envsound.systems.base import Request
from envsound.systems.language.patterns import Pattern
from envsound.systems.sampling import load_trained

CONTROLS = ("codec", "bigram", "unigram")  # of `evaluation.controls`
FACTS = ["n_parameters", "n_steps", "training_seconds", "loss", "n_candidates", "passes", "seconds_a_clip", "n_silent"]
FACTS += ["device"]
SILENT = 1e-3  # of full scale, which no sample of a clip reaches
TOP_P, GUIDANCE = (0.9, 0.97, 1.0), (2.0, 3.0)  # the share of codes that are drawn among, and guidance's scale
SETTINGS = ["side", "top_p", "guidance_scale", "used", "n", "n_silent", *DISTANCES]
HEARD_SECONDS, MOST_HEARD = 2.5, 4  # of a clip that is published, and how many classes of a run


def comparison_table(
    runs: Mapping[str, str | Path],
    folder: Path,
    package: str | Path,
    training: ListenerTraining = TRAINING,
    seed: int = 0,
    n_jobs: int = 1,
    device: str = "auto",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a row for each finished run, for real clips and what needs no model; and what a record keeps.

    runs: folders by what the table calls them, all of one codec and of the same recordings as the first. Columns: those
    of `evaluation.overview`, from the fold that all hold out, and FACTS: see `run_facts`. The clips of CONTROLS are
    written into `folder`. package: where `make judge` has put aiSFX, without which one judge judges.
    """
    first = read_settings(next(iter(runs.values())))
    codec = load_codec(first.codec, first.codec_weights, device, first.codec_weights_sha256)
    rows = read_csv(first.folder / "codes.csv")
    real, folds = recordings_of(first.folder), sorted({int(fold) for fold in rows["fold"]} - {first.fold})
    taught = teach_judges(recorded(rows).reset_index(drop=True), codec, first.fold, package, training, device=device)
    judges = [one for one in taught if one.name in (B, CNN)]
    held_out, train = real[real["fold"] == first.fold].reset_index(drop=True), real[real["fold"] != first.fold]
    made = make_controls(held_out, train, draw_like(train, held_out, seed), codec, folder / "controls", seed)
    made = made.assign(filename=made["clip"], seconds=float(held_out["seconds"].max()))
    made.loc[made["system"] != CONTROLS[0], "fold"] = 0  # drawn by counting: no judge has met such a clip
    sides = {name: made[made["system"] == name].reset_index(drop=True) for name in CONTROLS}
    sides |= {name: samples_of(run) for name, run in runs.items()}
    table = measure(sides, rows, first.fold, folds, codec, judges, seed, n_jobs)
    facts = pd.DataFrame([{"side": name} | run_facts(run, codec) for name, run in runs.items()])
    named = {"judges": said(judges), "n_samples": len(samples_of(first.folder)), "held_out_fold": first.fold}
    return table.merge(facts, on="side", how="left")[["side", *FACTS, *COLUMNS[1:]]], named


def run_facts(run: str | Path, codec: Codec) -> dict[str, Any]:
    """Return FACTS of a finished run: what its model is, and what training and a clip cost.

    loss: of watched clips in the last epoch, nat a code; it is one of hidden codes for a masked model. passes: of the
    whole model for a clip, twice as many with guidance; seconds_a_clip: of step 03, with all it does; n_silent: clips
    that are silence.
    """
    steps, samples = read_json(Path(run) / "provenance.json")["steps"], read_csv(Path(run) / "samples.csv")
    trained, sampled = steps["02_train_model"], steps["03_sample_clips"]
    learnt = trained["facts"]
    found = {"n_steps": learnt["steps"], "loss": learnt["last_validation_loss"], "device": learnt["device_used"]}
    found |= {"n_candidates": samples["n_candidates"].iloc[0], "passes": passes(samples, codec.n_levels)}
    found["n_silent"] = sum(abs(read_clip(path, codec.sample_rate)).max() < SILENT for path in samples_of(run)["path"])
    return {name: (learnt | found | {"seconds_a_clip": sampled["seconds"] / len(samples)})[name] for name in FACTS}


def passes(samples: pd.DataFrame, n_levels: int) -> int:
    """Return how often the whole model is gone through for the first clip of a samples.csv, guidance counting twice."""
    row = samples.iloc[0]
    if "pattern" in samples:
        n_passes = Pattern(row["pattern"], n_levels).n_steps(int(row["n_frames"]))
    else:
        n_passes = sum(int(n) or int(row["n_frames"]) for n in str(row["steps_per_level"]).split())
    return n_passes * (2 if row["guidance_scale"] > 1 else 1)


def settings_table(runs: Mapping[str, str | Path], device: str, seed: int = 0) -> pd.DataFrame:
    """Return SETTINGS, for each of some runs of the same recordings a row for each of TOP_P and GUIDANCE.

    Asked for are the clips of the run's samples.csv, with other seeds. used: whether samples.csv was drawn so;
    n_silent: clips that are silence; distances: of `evaluation.spaces.distances`, in the statistics of log-mel spectra.
    """
    teaching, _ = watched(next(iter(runs.values())))
    statistics, real, rows = KeptEmbedding(StatisticsEmbedding()), from_rows(teaching), []
    for name, run in runs.items():
        system, samples = load_trained(run, device), read_csv(Path(run) / "samples.csv")
        seeds = (samples["seed"].astype("int64") + seed + 1) % 2**32
        asked = [*map(Request, [""] * len(samples), samples["category"], samples["seconds"], seeds)]
        vectors = embed_clips(real, statistics, system.sample_rate, "train").vectors
        for top_p, scale in product(TOP_P, GUIDANCE):
            drawn = {"top_p": top_p, "guidance_scale": scale}
            other = replace(system, decoding=replace(system.decoding, **drawn))
            clips = [*other.generate(asked)]
            sides = {REAL: real, name: from_clips(clips, samples["category"], system.sample_rate)}
            found = measure_distances(sides, [Reduced(statistics, vectors)], system.sample_rate, seed, by_class=False)
            row = {"side": name, "used": all(samples[key].iloc[0] == value for key, value in drawn.items())} | drawn
            row |= {"n": len(clips), "n_silent": sum(abs(clip).max() < SILENT for clip in clips)}
            rows.append(row | found.set_index("side").loc[name, DISTANCES].to_dict())
    return pd.DataFrame(rows, columns=SETTINGS)


def keep_sounds(runs: Mapping[str, str | Path], folder: Path) -> pd.DataFrame:
    """Write the beginning of runs' first clips of a few classes, as Ogg: file, category, words (the run), no text.

    Of the runs of one preset the first is heard.
    """
    rows, first = [], {}
    for name, run in runs.items():
        first.setdefault(read_settings(run).preset, (name, run))
    for name, run in first.values():
        samples = samples_of(run)
        classes = sorted(samples["category"].unique())
        chosen = classes[:: -(-len(classes) // MOST_HEARD)]
        for row in samples[samples["category"].isin(chosen)].drop_duplicates("category").to_dict("records"):
            path = folder / f"{slug(name)}_{slug(row['category'])}.ogg"
            write_ogg(path, read_clip(row["path"], SAMPLE_RATE, HEARD_SECONDS), SAMPLE_RATE)
            rows.append({"file": path.name, "category": row["category"], "words": name, "text": ""})
    return pd.DataFrame(rows, columns=["file", "category", "words", "text"])


def watched(run: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the recordings that a run learnt from, and those of the fold that it held out."""
    settings = read_settings(run)
    return training_sets(recordings_of(run), settings.fold, list(settings.train_folds))
