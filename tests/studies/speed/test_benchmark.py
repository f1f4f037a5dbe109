"""The benchmark's arithmetic, on a peer of the test's own; the real one is installed for `make bench` alone."""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from fakes.speed import growth

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json
from envsound.studies.speed import bench as module
from envsound.studies.speed import command, sides
from envsound.studies.speed.bench import ApartError, Sweeps, bench, call_apart, grow, measure_point
from envsound.studies.speed.sides import SAMPLE_BATCH, SAMPLE_LONG, SAMPLE_ONE, TRAIN, Ours, Rate, Side, Work, make_side
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

CPU = torch.device("cpu")
SHAPE = ModelConfig(n_levels=3, codebook_size=20, dim=16, n_layers=1, n_heads=2, conv_kernel=5, dropout=0.0)
SMALL = Work(n_frames=16, batch=2, first_steps=4, long_frames=20, model=SHAPE)


@pytest.fixture
def small(monkeypatch) -> Side:
    codec = SimpleNamespace(decode=lambda codes: codes.float().mean(1))
    monkeypatch.setattr(sides.Ours, "codec", codec)
    return make_side("ours", SMALL, CPU)


def test_a_training_step_moves_the_weights_in_either_precision(small):
    for precision in ("float32", "bfloat16"):
        before = small.system.model.blocks[0].norm.weight.clone()
        small.run(TRAIN, precision)
        assert not torch.equal(small.system.model.blocks[0].norm.weight, before)
        assert small.system.model.blocks[0].norm.weight.dtype == torch.float32


def test_tasks_take_the_passes_the_clips_and_the_frames_that_they_say(small, monkeypatch):
    assert SMALL.steps_per_level == (4, 1, 1) and Work().steps_per_level == (12, *[1] * 7)
    assert (small.passes(SAMPLE_ONE), small.passes(SAMPLE_BATCH), small.passes(TRAIN)) == (6, 6, 1)
    assert not small.system.network._forward_pre_hooks
    asked, sample = [], small.system.sample
    monkeypatch.setattr(small.system, "sample", lambda *request: asked.append(request) or sample(*request))
    for task, precision in ((SAMPLE_ONE, "float32"), (SAMPLE_BATCH, "bfloat16"), (SAMPLE_LONG, "float32")):
        small.run(task, precision)
    assert asked == [(1, 16, torch.float32), (2, 16, torch.bfloat16), (1, 20, torch.float32)]


PEER = """
import torch, torchaudio
from audiolm_pytorch import SoundStream
class ConformerWrapper(torch.nn.Linear):
    def __init__(self, codebook_size, num_quantizers, conformer):
        super().__init__(num_quantizers, codebook_size)
class SoundStorm(torch.nn.Sequential):
    device = torch.device("cpu")
    def __init__(self, net, steps, schedule):
        super().__init__(net)
    def forward(self, codes):
        return self[0](codes.float()).square().mean(), None
    def generate(self, n_frames, batch_size):
        return self[0](torch.zeros(batch_size, n_frames, 3))
"""


def test_the_peer_is_imported_among_stand_ins_that_do_not_stay(tmp_path, monkeypatch):
    (tmp_path / "soundstorm_pytorch").mkdir()
    (tmp_path / "soundstorm_pytorch" / "soundstorm.py").write_text(PEER)
    monkeypatch.setitem(sys.modules, "torchaudio", kept := object())
    peer = make_side("peer", SMALL, CPU, str(tmp_path))
    assert sys.modules["torchaudio"] is kept and "audiolm_pytorch" not in sys.modules and str(tmp_path) not in sys.path
    peer.run(TRAIN, "float32")
    assert peer.passes(SAMPLE_ONE) == 1 and peer.n_parameters() == 3 * 20 + 20
    for name in [name for name in sys.modules if name.startswith("soundstorm_pytorch")]:
        monkeypatch.delitem(sys.modules, name)


def test_runs_are_timed_in_turn_after_one_that_does_not_count(monkeypatch):
    calls, ticks = [], iter([0, 9, 9, 10, 10, 12, 12, 15, 15, 17, 17, 40])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    times = module.turn_by_turn([lambda: calls.append("a"), lambda: calls.append("b")], n_runs=3)
    assert "".join(calls) == "ab" + "ababab"
    assert times == [[9, 2, 2], [1, 3, 23]]


def test_both_sides_have_a_row_for_every_task_and_precision(small):
    rates, shown = {"float32": Rate(1e9, (1, 1, 1)), "bfloat16": Rate(4e9, (1, 1, 1))}, []
    memory = {"ours": 10.0, "peer": 20.0}
    both = {"ours": small, "peer": Side(Ours(SMALL, CPU), SMALL, CPU)}
    rows = module.measure(both, 1, rates, lambda side, *_: memory[side], shown.append)
    assert len(shown) == len(rows) == 12 and [row["best"] for row in rows] == [False, False, True] * 4
    for row, text in zip(rows, shown, strict=True):
        assert row["share_of_limit"] == pytest.approx(row["limit_s"] / row["ours_s"]) and row["ours_mib"] == 10
        alone = row["task"] == SAMPLE_LONG
        assert (row["peer_s"], row["peer_mib"], row["ratio"]) == (None, None, None) if alone else row["peer_mib"] == 20
        assert alone or row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
        assert row["task"] in text and row["precision"] in text
    first, half = rows[:2]
    assert first["limit_s"] == pytest.approx(first["flops"] / 1e9) == pytest.approx(4 * half["limit_s"])


def test_best_sets_the_fastest_of_each_side_against_the_other_and_a_compiled_model_competes_alone():
    found = module.contests(TRAIN, dict.fromkeys(("ours", "peer", "compiled")))
    assert (found["bfloat16"], found["compiled float32"]) == (["ours", "peer"], ["compiled"]) and len(found) == 4
    common = {"task": "t", "best": False, "limit_s": 1.0, "ours_mib": 1.0, "peer_runs_s": []}
    rows = [
        common | {"precision": "float32", "ours_s": 4.0, "peer_s": 9.0, "peer_mib": 8.0, "share_of_limit": 0.25},
        common | {"precision": "bfloat16", "ours_s": 3.0, "peer_s": 12.0, "peer_mib": 7.0, "share_of_limit": 0.3},
        common | {"precision": "compiled bfloat16", "ours_s": 2.0, "peer_s": None, "share_of_limit": 0.5},
    ]
    best = module.best_row(rows)
    assert (best["ours_s"], best["peer_s"], best["ratio"], best["share_of_limit"]) == (2.0, 9.0, 4.5, 0.5)
    assert best["precision"] == "best: compiled bfloat16 against float32" and best["peer_mib"] == 8.0 and best["best"]
    alone = module.best_row([row | {"peer_s": None, "ratio": None} for row in rows])
    assert alone["precision"] == "best: compiled bfloat16" and alone["ratio"] is None


def forward_flops(shape: ModelConfig, batch: int, n: int) -> int:
    """Return a pass's operations up to the states, by hand: two for every weight and frame, and attention's."""
    dim, inner = shape.dim, 2 * shape.dim
    weights = 4 * dim * dim * shape.ff_mult + 3 * dim * dim + dim * dim  # feed-forward twice, attention
    weights += dim * 2 * inner + inner * dim + inner * shape.conv_kernel  # convolution
    return shape.n_layers * batch * (2 * n * weights + 4 * n * n * dim)


def test_operations_there_and_back_are_those_counted_by_hand():
    model, codes = MaskedConformer(SHAPE), torch.randint(20, (2, 3, 12))
    with torch.no_grad():
        assert sides.count_flops(lambda: model(codes)) == forward_flops(SHAPE, 2, 12)
        assert sides.count_flops(lambda: model.logits(torch.zeros(5, 16), 1)) == 2 * 5 * 16 * 20
    states = model(codes)
    attention = 4 * 2 * 12 * 12 * 16  # of the way there, scores and sums
    expected = 2 * forward_flops(SHAPE, 2, 12) + attention // 2  # the scores are computed again
    assert sides.count_flops(lambda: states.sum().backward()) == expected
    layer, x = torch.nn.Conv1d(6, 6, 3, padding=1, groups=6), torch.randn(2, 6, 10, requires_grad=True)
    there, out, alone = 2 * 2 * 6 * 10 * 3, layer(x), layer(x.detach())  # of a grouped convolution
    assert sides.count_flops(lambda: layer(x)) == there == sides.count_flops(lambda: alone.sum().backward())
    assert sides.count_flops(lambda: out.sum().backward()) == 2 * there


def test_the_rate_is_the_best_of_all_shapes_and_the_models_own_are_among_those_timed():
    rate = sides.product_rate(CPU, "float32", [(8, 8, 8), (256, 256, 256)], n_runs=2)
    assert 1e8 < rate.flops_per_second < 1e14 and rate.shape == (256, 256, 256)
    timed = set(sides.product_shapes(Work(), CPU))
    assert {(2048, 2048, 2048), (375, 512, 2048), (3000, 512, 1536), (3000, 512, 1024)} <= timed


ADDED = """
import torch
from envsound.studies.speed.bench import PeakMemory
memory = PeakMemory(torch.device("cpu"))
block = torch.ones(32 * 2**20, dtype=torch.uint8)
first = memory.added_mib()
del block
print(first, memory.added_mib(), PeakMemory(torch.device("cpu")).added_mib())
"""


def test_memory_that_a_process_or_a_task_adds_is_seen():
    # in processes of their own: here, what other tests have freed would be used again and nothing added
    printed = subprocess.run([sys.executable, "-c", ADDED], capture_output=True, text=True, check=True).stdout
    added, still, anew = map(float, printed.split())
    assert 31 <= added < 200 and still > 31  # the peak stays; the system counts in lots of pages
    assert anew < 16  # and the next one begins anew
    big = ModelConfig(n_levels=1, codebook_size=20, dim=256, n_layers=2, n_heads=4, conv_kernel=5)
    megabytes = 4 * sum(p.numel() for p in MaskedConformer(big).parameters()) / 2**20
    asked = {"side": "ours", "task": TRAIN, "precision": "float32", "device": "cpu", "peer_folder": ""}
    added = call_apart(module.peak_mib, **asked, work=asdict(replace(SMALL, model=big)))
    assert 3 * megabytes < added < 20 * megabytes  # at least weights, gradients and both moments of Adam


def test_a_process_of_its_own_gives_back_what_the_function_returns_or_says_that_memory_was_short(monkeypatch):
    assert call_apart(json.dumps, obj=[1, {"a": None}]) == '[1, {"a": null}]'
    with pytest.raises(ApartError, match=r"json:loads: .*Expecting value") as caught:
        call_apart(json.loads, s="nothing")
    assert not caught.value.out_of_memory
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=-9, stdout="", stderr=""))
    with pytest.raises(ApartError, match="json:dumps: exit status -9") as caught:
        call_apart(json.dumps)
    assert caught.value.out_of_memory
    peak = module.memory_apart(CPU, "", SMALL)
    monkeypatch.setattr(module, "call_apart", Mock(side_effect=[ApartError("", True), ApartError("", False)]))
    assert peak("ours", TRAIN, "float32") is None
    with pytest.raises(ApartError):
        peak("ours", TRAIN, "float32")


def test_the_benchmark_writes_what_it_shows_with_its_machine(tmp_path, monkeypatch, small):
    monkeypatch.setattr(module, "product_shapes", lambda *_: [(16, 16, 16)])
    monkeypatch.setattr(module, "memory_apart", lambda *_: lambda *_: 12.0)
    monkeypatch.setattr(sides, "Peer", lambda folder, shape, steps: Ours(SMALL, CPU))
    lines = []
    result = bench(tmp_path, "cpu", 1, "peer", False, lines.append, SMALL)
    written = read_json(tmp_path / "bench.json")
    assert written["rows"] == result["rows"] and set(written) == set(result) and not {"goals"} & set(result)
    assert result["passes"] == {"ours": 6, "peer": 6} and result["n_parameters"]["ours"] > 1000
    assert {"machine", "cores", "torch", "commit"} <= set(result) and result["device"].startswith("CPU")
    assert len(lines) == 2 + 12 and result["machine"] in lines[0]
    record = read_json(tmp_path / "provenance.json")["steps"]["bench"]
    assert record["commit"] == result["commit"] and "started" not in record
    assert str(tmp_path) not in (tmp_path / "bench.json").read_text()


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_the_command_measures_the_model_beside_the_peer_its_growth_or_the_evaluation(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(module, "bench", lambda *options: given.append(options[:-1]))
    monkeypatch.setattr(module, "grow", lambda *options: given.append(options) or growth())
    monkeypatch.setattr("envsound.report.style.save_figure", lambda _, *place: given.append(place))
    monkeypatch.setattr(
        "envsound.studies.speed.evaluation.time_evaluation", lambda *options, **_: given.append(options)
    )
    assert [run(), run("growth", "--out", str(tmp_path)), run("evaluation", "--clips", "9")] == [0, 0, 0]
    assert given[0] == ("data/runs/speed", "auto", 3, ".bench", False)
    assert given[1:3] == [(str(tmp_path), "auto", 3, 60.0, "auto"), (tmp_path / "figures", "growth")]
    assert given[3][:2] == ("data/runs/evaluation_speed", 0) and given[3][2].n_clips == 9


def test_what_cannot_be_run_is_named(tmp_path, capsys):
    with pytest.raises(InputError, match="n_runs=0"):
        bench(tmp_path, "cpu", 0)
    with pytest.raises(InputError, match="side='other'"):
        make_side("other", SMALL, CPU)
    here = ("--device", "cpu", "--out", str(tmp_path))
    assert run("model", "--peer", str(tmp_path), *here) == run("growth", "--max-seconds", "1", *here) == 1
    assert run("evaluation", "--jobs", "-1", "--out", str(tmp_path)) == 1
    words = capsys.readouterr().err
    assert all(text in words for text in ("make bench", "max_seconds=1", "n_jobs=-1")) and not any(tmp_path.iterdir())


# Growth: which points, what a row holds, and going on where it was stopped

TINY = ModelConfig(n_levels=2, codebook_size=20, dim=16, n_heads=2, conv_kernel=5)
FEW = Sweeps(lengths=(0.1, 0.2), batches=(1, 3), depths=(1, 2))


class Measured:
    """Stands in for a measurement; fails at the call whose number is `stop`."""

    def __init__(self, stop: int = 0, error: BaseException | None = None):
        self.points, self.stop, self.error = [], stop, error

    def __call__(self, **point) -> dict:
        self.points.append((point["task"], point["clip_seconds"], point["batch"], point["n_layers"]))
        if len(self.points) == self.stop:
            raise self.error
        return {"seconds": 2.0, "fastest_s": 1.0, "slowest_s": 3.0, "peak_mib": 50.0}


def test_one_thing_is_varied_at_a_time_and_no_point_is_measured_twice():
    points = Sweeps().points(60.0)
    assert len(points) == len(set(points)) == 5 + 4 + 3
    assert all(sum(here != first for here, first in zip(point, (5, 1, 2), strict=True)) <= 1 for point in points)
    assert {point[0] for point in Sweeps().points(20.0)} == {5, 10, 20}  # the longest clip bounds lengths alone


@pytest.mark.parametrize("task", module.GROWING)
def test_a_point_is_measured_at_the_length_batch_and_depth_asked_for(task, monkeypatch):
    made = []
    side = module.make_side
    monkeypatch.setattr(module, "make_side", lambda *given: made.append(given[1]) or side(*given))
    found = measure_point(task, 0.2, 3, 2, n_runs=2, device="cpu", precision="float32", size={**vars(TINY)})
    [*_, asked] = made
    assert (asked.n_frames, asked.batch, asked.model.n_layers, asked.model.dim) == (15, 3, 2, 16)
    assert 0 < found["fastest_s"] <= found["seconds"] <= found["slowest_s"] and found["peak_mib"] >= 0


def test_rows_name_point_machine_and_commit_and_an_interrupted_measurement_goes_on(tmp_path):
    first = Measured(stop=4, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, first)
    assert len(read_csv(tmp_path / "growth.csv")) == 3
    second = Measured()
    rows = grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, second)
    assert first.points[:3] + second.points == [(row.task, *row[2:5]) for row in rows.itertuples()]
    assert list(rows) == module.COLUMNS and len(rows) == 4 * len(module.GROWING)
    assert read_csv(tmp_path / "growth.csv").equals(rows.assign(note=""))
    assert set(rows["dim"]) == {16} and set(rows["precision"]) == {"float32"} and rows["commit"].ne("").all()
    record = read_json(tmp_path / "provenance.json")["steps"]["growth"]
    assert record["parameters"]["max_seconds"] == 0.2 and "started" not in record
    third = Measured()
    assert len(grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, third)) == 8 and third.points == []
    for n_runs, precision, message in ((3, "float32", "n_runs 2, not 3"), (2, "bfloat16", "precision float32, not")):
        with pytest.raises(InputError, match=message):
            grow(tmp_path, "cpu", n_runs, 0.1, precision, TINY, FEW, Measured())


def test_a_point_that_does_not_fit_has_a_note_and_other_failures_are_not_hidden(tmp_path):
    starved = Measured(stop=2, error=ApartError("killed", out_of_memory=True))
    rows = grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, starved)
    assert len(rows) == 8 and rows["note"].eq(module.OUT_OF_MEMORY).sum() == rows["seconds"].isna().sum() == 1
    again = Measured()
    grow(tmp_path, "cpu", 2, 0.2, "float32", TINY, FEW, again)
    assert again.points == []
    broken = Measured(1, ApartError("broken", out_of_memory=False))
    with pytest.raises(ApartError, match="broken"):
        grow(tmp_path / "other", "cpu", 2, 0.2, "float32", TINY, FEW, broken)
    with pytest.raises(InputError, match="precision='half'"):
        grow(tmp_path, "cpu", precision="half")


def test_the_process_of_its_own_gets_what_the_measurement_takes(tmp_path, monkeypatch):
    asked = []

    def apart(function, **given):
        asked.append((function, given["device"], given["precision"], given["size"]["dim"]))
        return Measured()(**given)

    monkeypatch.setattr(module, "call_apart", apart)
    grow(tmp_path, "cpu", 1, 0.1, "auto", TINY, FEW)
    [(function, device, precision, dim)] = set(asked)
    assert (function, device, dim) == (measure_point, "cpu", 16) and precision in ("float32", "bfloat16")
