"""What a value may be: every number of a preset has its range, every name its choices, wherever it is given."""

import math
from pathlib import Path

import pytest

from envsound.base.errors import InputError
from envsound.data.augmentation import CHANCES
from envsound.data.recordings import DATASETS
from envsound.metrics.acoustic import METRICS
from envsound.run import limits
from envsound.run.limits import CHOICES, RANGES, check_together, check_value, levels_of
from envsound.run.presets import load_preset, notebook_parameters
from envsound.run.settings import check_parameters
from envsound.systems.soundstorm.drawing import ORDERS
from envsound.systems.soundstorm.system import PRECISIONS

ROOT = Path(__file__).parents[2]
PAPER = load_preset("paper", ROOT / "notebooks" / "presets")
NUMBERS = [name for name, value in PAPER.items() if isinstance(value, int | float) and not isinstance(value, bool)]
NUMBERS += ["train_folds", "real_folds", "level_shares", "betas", "steps_per_level"]


def test_every_number_of_a_preset_has_a_range_and_the_choices_are_those_of_the_code():
    assert set(NUMBERS) <= set(RANGES)
    codes = {"dataset": DATASETS, "augment": CHANCES, "metrics": METRICS, "order": ORDERS}
    assert {name: tuple(known) for name, known in codes.items()} == {name: CHOICES[name] for name in codes}
    assert CHOICES["sample_precision"] == ("auto", *PRECISIONS)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -0.5, 10**12, 1e300, True, "3", None])
def test_no_number_that_makes_no_sense_is_taken_alone_or_in_a_list(name, value):
    for given in (value, [value], (0.5, value)):
        with pytest.raises(InputError, match=f"^where: {name}=.*expected"):
            check_value(name, given, f"where: {name}")


@pytest.mark.parametrize("name, low, high, open_low, open_high", [
    (name, float(low), float(high), left == "(", right == ")")
    for name, (_, left, low, high, right) in ((n, limits.RANGE.fullmatch(text).groups()) for n, text in RANGES.items())
])  # fmt: skip
def test_a_range_holds_its_ends_where_it_says_so(name, low, high, open_low, open_high):
    for end, is_open, beyond in ((low, open_low, -1e-6), (high, open_high, 1e-6)):
        for value, wrong in ((end, is_open), (end + beyond, end + beyond != 0), (end - beyond, False)):
            if wrong:
                with pytest.raises(InputError, match=name):
                    check_value(name, value, name)
            else:
                check_value(name, value, name)


@pytest.mark.parametrize("name, value", [
    ("grad_clip", 0.0), ("class_dropout", 2.0), ("prompt_chance", 5.0), ("lr", 1e9), ("sample_batch_size", -1),
    ("seed", 2**70), ("sample_seconds", 0.001), ("order", "left"), ("dataset", "esc5"),
    ("metrics", ["rms", "loudness"]), ("train_folds", [2, 2]), ("categories", ["dog", 3]), ("categories", ["a", "a"]),
    ("steps_per_level", [2, "x"]), ("precision", "16"), ("augment", ["speed", "speed"]), ("real_folds", [1.5, "a"]),
])  # fmt: skip
def test_what_cannot_be_is_one_line(name, value):
    with pytest.raises(InputError, match=name):
        check_value(name, value, name)


@pytest.mark.parametrize("change, message", [
    ({"steps_per_level": [2, 1]}, r"steps_per_level=\[2, 1\]: expected 8, one a level"),
    ({"level_shares": [0.5, 0.5]}, "level_shares=.*: expected 8"),
    ({"level_shares": [0.2] * 8}, "add up to 1"),
    ({"betas": [0.9]}, "betas=.*two shares"),
    ({"dim": 30}, "dim=30: expected n_heads=8"),
    ({"conv_kernel": 4}, "conv_kernel=4: expected an odd"),
    ({"weight_decay": 0.1}, "weight_decay=0.1"),
    ({"patience": 3}, "needs a validation_fold"),
    ({"codec": "patches"}, "steps_per_level=.*: expected 4"),
])  # fmt: skip
def test_values_that_do_not_fit_each_other_are_one_line(monkeypatch, change, message):
    monkeypatch.chdir(ROOT)
    check_together(PAPER)
    with pytest.raises(InputError, match=f"^preset x: .*{message}"):
        check_together(PAPER | change, "preset x")


def test_the_levels_of_a_codec_are_those_its_file_tells(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert levels_of("patches") == levels_of("data/codec/patches.safetensors") == 4 and levels_of("encodec_24khz") == 8
    for content in (b"", b"\xff" * 50, b"\x02\0\0\0\0\0\0\0{}"):
        (tmp_path / "mine").write_bytes(content)
        assert levels_of(str(tmp_path / "mine")) is None
    assert levels_of("nowhere") is None and levels_of("") is None


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("[!.]*.ipynb")), ids=lambda path: path.stem)
def test_the_values_of_every_notebook_are_checked_and_those_it_has_are_fine(path):
    declared = notebook_parameters(path)
    space = declared | {"__annotations__": dict.fromkeys(declared)}
    check_parameters(space)
    for name in {"seed", "seeds", "clip_seconds", "n_examples", "lr"} & set(declared):
        with pytest.raises(InputError, match=f"parameter {name}=-1"):
            check_parameters(space | {name: -1})


def test_the_cases_of_people_who_met_these_faults_are_one_line_each(cases, tmp_path):
    for path in (ROOT / "notebooks" / "presets").glob("*.yml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = sorted(cases.glob("preset_*.yml"))
    for path in found:
        (tmp_path / path.name).write_bytes(path.read_bytes())
        with pytest.raises(InputError, match=r"^\S.*expected .*$") as caught:
            load_preset(path.stem, tmp_path)
        assert "\n" not in str(caught.value)
    assert found
