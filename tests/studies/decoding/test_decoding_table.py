"""The table of decoding settings: the same requests for each, judged by training folds, resumed, and read rightly."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.codec.codes import save_codes
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import StoredCodec
from envsound.metrics.resampling import Resamples
from envsound.studies.decoding.contest import (
    BASE,
    CEILING,
    COLUMNS,
    FLOOR,
    METRICS,
    REAL,
    TOGETHER,
    Contest,
    Judges,
    Measuring,
    asked_settings,
    best_setting,
    compare_settings,
    distinct,
    facts_of,
    findings_settings,
    mean_distance,
)
from envsound.studies.decoding.figures import settings_figure
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.listen import Setting
from envsound.systems.soundstorm.sampling import plan_requests

LEVELS, FRAMES = 2, 40
STEPS = {name: Setting("steps", name, {"steps_per_level": (n, 1)}) for name, n in (("3", 3), ("one code a pass", 0))}


@pytest.fixture(scope="module")
def codec() -> StoredCodec:
    small = dict(dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StoredCodec(FourierCodec(FourierConfig(n_levels=LEVELS, codebook_size=16, **small)), "small", "hash")


@pytest.fixture
def contest(codec, tmp_path) -> Contest:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        shape = dict(dim=16, n_layers=1, n_heads=2, conv_kernel=5, n_classes=2)
        model = MaskedConformer(ModelConfig(n_levels=LEVELS, codebook_size=16, **shape)).eval()
    requests = plan_requests(6, 0, ["dog", "rain"], "", np.array([FRAMES]), 0)
    return Contest(Checkpoint(model, ["dog", "rain"], {}), codec, requests, tmp_path / "decoding", 2, 4)


@pytest.fixture
def train(codec, tmp_path) -> pd.DataFrame:
    rows = []
    for number in range(12):
        path, codes_file = tmp_path / f"{number}.wav", tmp_path / f"{number}.safetensors"
        rng = np.random.default_rng(number)
        write_wav(path, rng.normal(0, (0.05, 0.2)[number % 2], FRAMES * 320), 24_000)
        save_codes(codes_file, rng.integers(0, 16, (LEVELS, FRAMES)), codec.content_hash, FRAMES * 320)
        rows.append(
            (path.name, str(path), number // 4 + 2, ("dog", "rain")[number % 2], FRAMES, FRAMES / 75, codes_file)
        )
    names = ["filename", "path", "fold", "category", "n_frames", "seconds", "codes_file"]
    return pd.DataFrame(rows, columns=names)


def compare(contest: Contest, train: pd.DataFrame, settings: list[Setting]) -> pd.DataFrame:
    chosen = distinct([BASE, *settings], DecodingConfig((2, 1), order="random"))
    how = Measuring(5.0, n_resamples=40, cache_dir=contest.folder / "cache")
    judges = Judges.of(train)
    recogniser = judges.recogniser(contest.codec.sample_rate, how.max_seconds)
    return compare_settings(contest, judges, chosen, how, recogniser)


def test_every_setting_has_a_row_between_floor_and_ceiling(contest, train):
    table = compare(contest, train, list(STEPS.values()))
    assert list(table.columns) == COLUMNS
    assert table["setting"].tolist() == [FLOOR, CEILING, BASE.name, "3", "one code a pass"]
    assert table["n"].tolist() == [8, 4, 6, 6, 2]  # one code a pass is slow and has fewer clips
    assert table["passes"].tolist()[2:] == [3, 4, FRAMES + 1] and table["passes"][:2].isna().all()
    assert table["distance"].between(0, 1).all() and (table["distance_low"] <= table["distance_high"]).all()
    assert set(table["furthest"]) <= set(METRICS)
    assert table["accuracy"].notna().tolist() == [False, True, True, True, True]  # nobody is judged on what he learnt
    text = findings_settings(table)
    assert "**" in text and "One code a pass" in text and "on 2 clips" in text
    assert len(settings_figure(table).axes) == 3


def test_an_interrupted_comparison_goes_on_and_gives_the_same(contest, train):
    first = compare(contest, train, [STEPS["3"]])
    made = {path: path.stat().st_mtime_ns for path in contest.folder.rglob("*.wav")}
    lost = next(path for path in made if path.parent.name != CEILING)
    lost.unlink()
    again = compare(contest, train, [STEPS["3"]])
    pd.testing.assert_frame_equal(first.drop(columns=["passes", "seconds_per_clip"]),
                                  again.drop(columns=["passes", "seconds_per_clip"]))  # fmt: skip
    untouched = {path: path.stat().st_mtime_ns for path in made if path != lost}
    assert lost.exists() and untouched == {path: made[path] for path in untouched}
    third = compare(contest, train, [STEPS["3"]])
    pd.testing.assert_frame_equal(again, third)  # the cost is the one that was measured, not that of reading


def test_what_judges_is_split_by_fold_and_no_clip_serves_twice(train):
    judges = Judges.of(train)
    assert set(judges.reference.fold) == {2} and set(judges.others.fold) == {3, 4}
    with pytest.raises(InputError, match=r"train_folds=\[2\]"):
        Judges.of(train[train.fold == 2])


def test_the_record_names_the_listener_that_judged_the_settings(train, codec):
    judges = Judges.of(train)
    recogniser = judges.recogniser(codec.sample_rate, 5.0)
    facts = facts_of(judges, codec, recogniser)
    assert facts["selected_by"] == {"MFCC and SVM": recogniser.content_hash} and facts["recogniser"] == "MFCC and SVM"
    assert (facts["reference_folds"], facts["recogniser_folds"]) == ([2], [3, 4])
    untold = Judges.of(train.assign(category=""))
    assert untold.recogniser(codec.sample_rate, 5.0) is None and facts_of(untold, codec, None)["selected_by"] == {}


def test_settings_with_the_same_rules_are_made_once():
    base = DecodingConfig((12, 1), order="random", fine_temperature=1.0)
    asked = asked_settings(2, True, [{"name": "calm", "temperature": 0.5, "steps_per_level": [20, 2]}])
    chosen = distinct(asked, base)
    assert chosen[0] == (BASE, base)
    assert len({str(config) for _, config in chosen}) == len(chosen) < len(asked)
    setting, config = chosen[-1]
    assert (setting.control, setting.name) == (TOGETHER, "calm")
    assert (config.temperature, config.steps_per_level, config.order) == (0.5, (20, 2), "random")


@pytest.mark.parametrize("wrong", [{"temperature": 1.0}, {"name": "x", "heat": 2}])
def test_a_setting_that_cannot_be_is_refused_by_its_number(wrong):
    with pytest.raises(InputError, match=r"more_settings\[1\].*expected name and any of"):
        asked_settings(2, True, [{"name": "good"}, wrong])


def test_the_distance_is_the_mean_size_of_cliffs_delta():
    def clips(system: str, **values: float) -> pd.DataFrame:
        rows = {name: [values.get(name, 0.0)] * 3 for name in METRICS}
        return pd.DataFrame(rows | {"clip": list("abc"), "system": system})

    real, other = clips(REAL), clips("generated", **{METRICS[0]: 1.0, METRICS[1]: -1.0})
    found = mean_distance(other, real, Resamples(0, 20))
    assert found["distance"] == pytest.approx(2 / len(METRICS))
    assert found["distance_low"] == pytest.approx(found["distance"]) == found["distance_high"]
    assert (found["furthest"], found["furthest_delta"]) == (METRICS[0], 1.0)
    assert mean_distance(real, real, Resamples(0, 20))["distance"] == 0


def test_the_best_setting_is_no_real_clip():
    table = pd.DataFrame({
        "control": [REAL, CEILING, "steps", "steps"], "setting": [FLOOR, CEILING, "12", "16"],
        "distance": [0.0, 0.1, 0.4, 0.3],
    })  # fmt: skip
    assert best_setting(table)["setting"] == "16"
    with pytest.raises(InputError, match="at least one setting"):
        best_setting(table[:2])


def test_the_notebook_compares_on_the_training_folds():
    source = Path(__file__).parents[3].joinpath("notebooks", "15_compare_decoding.ipynb").read_text()
    assert "Judges.of(train)" in source and "split_folds(recorded(table), run.fold" in source
