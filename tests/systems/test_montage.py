"""The montage joins what is alike, depends on its seed alone, and is found out by every search for copies."""

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.notebooks import run_cells

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.base.paths import find_root
from envsound.codec import load_codec
from envsound.data.audio import read_clip
from envsound.data.folds import recorded, split_folds
from envsound.evaluation.copies import coded_clips, copies_beside_chains
from envsound.evaluation.memorisation import level_distances, level_map, memorisation_table, neighbour_table
from envsound.run.contract import TABLES, read_table
from envsound.run.presets import load_preset
from envsound.systems.base import Request, load_recipe, read_options
from envsound.systems.kept import Sounds
from envsound.systems.montage import Montage, MontageOptions, atom_places, learn_atoms

STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips", "04_metrics", "05_ks_tests", "06_figures")
RATE = 8_000


def steady(level: float, seconds: float, seed: int) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of preset tiny-montage, all six notebooks, with enough clips to judge copies."""
    folder = tmp_path_factory.mktemp("run")
    for step in STEPS:
        given = {"run_dir": str(folder), "preset": "tiny-montage", "settings": {"n_samples": 16}}
        given |= {"replace": True} if step.startswith("03") else {}
        run_cells(find_root() / "notebooks" / f"{step}.ipynb", given)
    return folder


def test_a_montage_goes_through_the_whole_study(run):
    assert {name: read_table(run, name).empty for name in TABLES} == dict.fromkeys(TABLES, False)
    assert set(read_table(run, "samples")["system"]) == {"montage"}
    losses = read_table(run, "training").set_index("split")["loss"]
    assert 0 < losses["train"] < 20 and 0 < losses["validation"] < 20  # dB


def test_a_montage_is_found_out_in_codes(run):
    codec = load_codec("patches", device="cpu")
    train, held_out = split_folds(read_csv(run / "codes.csv"), 1, [])
    samples = read_table(run, "samples").assign(path=lambda t: [str(run / "samples" / name) for name in t["filename"]])
    by_clip, table = copies_beside_chains(coded_clips(samples, codec), train, recorded(held_out), codec, 0, run / "c")
    rows = table.set_index("side")
    assert rows.loc["generated", "run_p90"] > rows.loc["generated", "run_p90_goal"]
    assert rows.loc["generated", "share_median"] > rows.loc["generated", "share_median_goal"]
    assert by_clip.loc[by_clip["side"] == "generated", "run"].gt(rows.loc["real", "run_max"]).mean() > 0.9


def test_a_montage_is_found_out_in_log_mel():
    material = find_root() / "data" / "material"
    table = read_csv(material / "meta" / "esc50.csv").rename(columns={"filename": "clip"})
    table = table[table["fold"].isin([1, 2, 3])].reset_index(drop=True)
    clips = [read_clip(material / "audio" / name, RATE, 5.0) for name in table["clip"]]
    learnt = table[table["fold"] > 1]
    sounds = Sounds([clips[place] for place in learnt.index], list(learnt["clip"]), list(learnt["category"]), RATE)
    options = read_options(MontageOptions, load_preset("montage"))
    atoms = {name: learn_atoms(sounds, name, options)[0] for name in sorted(set(learnt["category"]))}
    asked = [Request("", category, 5.0, seed) for seed, category in enumerate(sorted(atoms) * 10)]
    made = [level_map(clip, RATE) for clip in Montage(sounds, atoms, options, "").generate(asked)]
    known = [level_map(clip, RATE) for clip in sounds.clips]
    held_out = table[table["fold"] == 1]
    rows = pd.DataFrame({"clip": range(100), "category": [one.category for one in asked]})
    sides = {"real": ([level_map(clips[place], RATE) for place in held_out.index], held_out), "generated": (made, rows)}
    near = [
        neighbour_table(level_distances(maps, known), rows, learnt, side, "log-mel")
        for side, (maps, rows) in sides.items()
    ]
    assert memorisation_table(pd.concat(near, ignore_index=True))["copies_found"].all()


def test_a_clip_depends_on_its_seed_alone_and_has_any_length(run):
    settings = load_preset("tiny-montage") | {"fold": 1}
    system = load_recipe("montage").load(settings, run, torch.device("cpu"))
    asked = [Request("a.wav", "rain", seconds, seed) for seconds, seed in ((5.0, 1), (0.3, 2), (23.0, 1), (5.0, 3))]
    clips = list(system.generate(asked))
    assert [len(clip) for clip in clips] == [120_000, 7_200, 552_000, 120_000]
    assert np.array_equal(clips[0], next(system.generate(asked[:1]))) and not np.array_equal(clips[0], clips[3])
    assert np.array_equal(clips[0], clips[2][:120_000])  # a longer one goes on where a shorter one ends
    with pytest.raises(InputError, match=r"expected \{'atom_seconds': 1.0"):
        load_recipe("montage").load(settings | {"options": {"atom_seconds": 1.0}}, run, torch.device("cpu"))


def test_an_end_is_followed_by_what_begins_alike_and_never_by_its_own_recording():
    loud_to_soft = [np.concatenate([steady(0.3, 3, n), steady(0.01, 3, n)]) for n in range(2)]
    sounds = Sounds([*loud_to_soft, *loud_to_soft[::-1]], list("abcd"), ["sea"] * 4, RATE)
    atoms, joins = learn_atoms(sounds, "sea", MontageOptions(1.0, 0.25, 2))
    clip_of = atoms.places[:, 0]
    assert (clip_of[atoms.next] != clip_of[:, None]).all() and joins.max() < 6
    ends_soft = atoms.places[:, 1] >= 2 * RATE
    begins_soft = atoms.places[:, 1] >= 3 * RATE
    assert (begins_soft[atoms.next] == ends_soft[:, None]).all()


def test_what_cannot_be_cut_is_told():
    clips = [steady(0.1, 3, 1), steady(0.1, 0.5, 2), np.zeros(3 * RATE, np.float32)]
    sounds = Sounds(clips, list("abc"), ["sea"] * 3, RATE)
    assert set(atom_places(sounds, "sea", MontageOptions(1.0))[:, 0]) == {0}
    with pytest.raises(InputError, match=r"sea: expected two audible recordings or more, of at least 1\.25 s"):
        learn_atoms(sounds, "sea", MontageOptions(1.0))
    with pytest.raises(InputError, match="atoms of 1 s or more"):
        MontageOptions(0.5)
    with pytest.raises(InputError, match="'atom_second' is unknown; expected perhaps 'atom_seconds'"):
        read_options(MontageOptions, {"options": {"atom_second": 2.0}})
    with pytest.raises(InputError, match="options: atom_seconds: 'two' is text; expected a number"):
        read_options(MontageOptions, {"options": {"atom_seconds": "two"}})
