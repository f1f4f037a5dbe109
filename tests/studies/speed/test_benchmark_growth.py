"""The growth measurement: which points, what a row holds, and going on where it was stopped."""

import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json
from envsound.studies.speed import growth
from envsound.studies.speed.apart import ApartError
from envsound.studies.speed.growth import COLUMNS, OUT_OF_MEMORY, TASKS, Sweeps, grow, main, measure_point
from envsound.systems.soundstorm.conformer import ModelConfig

TINY = ModelConfig(n_levels=2, codebook_size=20, dim=16, n_heads=2, conv_kernel=5)
FEW = Sweeps(lengths=(0.1, 0.2), batches=(1, 3), depths=(1, 2))


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """The figures that were asked for; drawing them has tests of its own."""
    found = []
    monkeypatch.setattr(growth, "save_figure", lambda *given: found.append(given))
    return found


class Measured:
    """Stands in for a measurement; fails at the call whose number is `stop`."""

    def __init__(self, stop: int = 0, error: Exception | None = None):
        self.points, self.stop, self.error = [], stop, error

    def __call__(self, **point) -> dict:
        self.points.append((point["task"], point["clip_seconds"], point["batch"], point["n_layers"]))
        if len(self.points) == self.stop:
            raise self.error
        return {"seconds": 2.0, "fastest_s": 1.0, "slowest_s": 3.0, "peak_mib": 50.0}


def test_one_thing_is_varied_at_a_time_and_no_point_is_measured_twice():
    points = Sweeps().points(60.0)
    assert len(points) == len(set(points)) == 5 + 4 + 3
    assert {point[0] for point in points if point[1:] == (1, 2)} == {5, 10, 20, 30, 60}
    assert {point[1] for point in points if (point[0], point[2]) == (5, 2)} == {1, 2, 4, 8, 16}
    assert {point[2] for point in points if point[:2] == (5, 1)} == {2, 4, 8, 12}
    assert all(sum(here != first for here, first in zip(point, (5, 1, 2), strict=True)) <= 1 for point in points)


def test_the_longest_clip_bounds_lengths_alone():
    assert {point[0] for point in Sweeps().points(20.0)} == {5, 10, 20}
    assert len(Sweeps().points(5.0)) == 1 + 4 + 3
    with pytest.raises(InputError, match="max_seconds=4: expected at least 5"):
        Sweeps().points(4.0)


@pytest.mark.parametrize("task", TASKS)
def test_a_point_is_measured_at_the_length_batch_and_depth_asked_for(task, monkeypatch):
    made = []
    side = growth.make_side
    monkeypatch.setattr(growth, "make_side", lambda *given: made.append(given[1]) or side(*given))
    size = {**vars(TINY)}
    found = measure_point(task, 0.2, 3, 2, n_runs=2, device="cpu", precision="float32", size=size)
    [*_, asked] = made
    assert (asked.n_frames, asked.batch, asked.model.n_layers, asked.model.dim) == (15, 3, 2, 16)
    assert 0 < found["fastest_s"] <= found["seconds"] <= found["slowest_s"] and found["peak_mib"] >= 0


def test_rows_name_point_machine_and_commit(tmp_path, drawn):
    rows = grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, Measured())
    assert list(rows) == COLUMNS and len(rows) == 4 * len(TASKS)
    assert read_csv(tmp_path / "growth.csv").equals(rows.assign(note=""))
    assert set(rows["dim"]) == {16} and set(rows["precision"]) == {"float32"} and rows["commit"].ne("").all()
    assert "core" in rows["machine"].iloc[0]
    assert [given[1:] for given in drawn] == [(tmp_path / "figures", "growth")] and len(drawn[0][0].axes) == 6
    record = read_json(tmp_path / "provenance.json")["steps"]["growth"]
    assert record["parameters"]["max_seconds"] == 0.2 and "started" not in record


def test_an_interrupted_measurement_goes_on_with_the_next_point(tmp_path):
    first = Measured(stop=4, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, first)
    assert len(read_csv(tmp_path / "growth.csv")) == 3
    second = Measured()
    rows = grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, second)
    assert first.points[:3] + second.points == [(row.task, *row[2:5]) for row in rows.itertuples()]
    third = Measured()
    assert len(grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, third)) == 8 and third.points == []


def test_a_point_that_does_not_fit_has_a_note_and_is_not_tried_again(tmp_path):
    starved = Measured(stop=2, error=ApartError("killed", out_of_memory=True))
    rows = grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, starved)
    assert len(rows) == 8 and rows["note"].eq(OUT_OF_MEMORY).sum() == rows["seconds"].isna().sum() == 1
    again = Measured()
    grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, again)
    assert again.points == []


def test_other_failures_are_not_hidden(tmp_path):
    with pytest.raises(ApartError, match="broken"):
        grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, Measured(1, ApartError("broken", out_of_memory=False)))
    assert not (tmp_path / "growth.csv").exists()


@pytest.mark.parametrize(
    ("n_runs", "precision", "message"), [(3, "float32", "n_runs 2, not 3"), (2, "bfloat16", "precision float32, not")]
)
def test_measurements_made_otherwise_are_not_mixed(tmp_path, n_runs, precision, message):
    grow(tmp_path, "cpu", 2, 0.1, "float32", TINY, FEW, Measured())
    with pytest.raises(InputError, match=message):
        grow(tmp_path, "cpu", n_runs, 0.1, precision, TINY, FEW, Measured())


def test_what_cannot_be_run_is_named(tmp_path, capsys):
    with pytest.raises(InputError, match="precision='half'"):
        grow(tmp_path, "cpu", precision="half")
    assert main(["--max-seconds", "1", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert "max_seconds=1" in capsys.readouterr().err


def test_the_process_of_its_own_gets_what_the_measurement_takes(tmp_path, monkeypatch):
    asked = []

    def apart(function, **given):
        asked.append((function, given["device"], given["size"]["dim"]))
        return Measured()(**given)

    monkeypatch.setattr(growth, "call_apart", apart)
    grow(tmp_path, "cpu", 1, 0.1, "float32", TINY, FEW)
    assert set(asked) == {("envsound.studies.speed.growth:measure_point", str(torch.device("cpu")), 16)}
