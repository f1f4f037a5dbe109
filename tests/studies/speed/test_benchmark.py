"""The benchmark's arithmetic, on a peer of the test's own; the real one is installed for `make bench` alone."""

import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_json
from envsound.studies.speed import apart, sides
from envsound.studies.speed import bench as module
from envsound.studies.speed.apart import ApartError, call_apart
from envsound.studies.speed.bench import (
    bench,
    best_row,
    contests,
    goal_lines,
    measure,
    memory_apart,
    peak_mib,
    row_line,
    turn_by_turn,
)
from envsound.studies.speed.goals import GOALS, RATIO, SECONDS, check_goals
from envsound.studies.speed.limits import (
    OTHER,
    Rate,
    count_flops,
    group_of,
    product_rate,
    product_shapes,
    profile_groups,
)
from envsound.studies.speed.memory import PeakMemory
from envsound.studies.speed.peer import UNUSED, Peer
from envsound.studies.speed.sides import (
    SAMPLE_BATCH,
    SAMPLE_LONG,
    SAMPLE_ONE,
    TRAIN,
    Ours,
    Side,
    Work,
    make_side,
)
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

CPU = torch.device("cpu")
SHAPE = ModelConfig(n_levels=3, codebook_size=20, dim=16, n_layers=1, n_heads=2, conv_kernel=5, dropout=0.0)
SMALL = Work(n_frames=16, batch=2, first_steps=4, long_frames=20, model=SHAPE)


@pytest.fixture
def small(monkeypatch) -> Side:
    codec = SimpleNamespace(decode=lambda codes: codes.float().mean(1))
    monkeypatch.setattr(sides, "load_codec", lambda name, device: codec)
    return make_side("ours", SMALL, CPU)


# What is done


def test_a_training_step_moves_the_weights_in_either_precision(small):
    for precision in ("float32", "bfloat16"):
        before = small.system.model.blocks[0].norm.weight.clone()
        small.run(TRAIN, precision)
        assert not torch.equal(small.system.model.blocks[0].norm.weight, before)
        assert small.system.model.blocks[0].norm.weight.dtype == torch.float32


def test_a_clip_takes_the_passes_of_its_schedule_and_a_training_step_one(small):
    assert SMALL.steps_per_level == (4, 1, 1)
    assert (small.passes(SAMPLE_ONE), small.passes(SAMPLE_BATCH), small.passes(TRAIN)) == (6, 6, 1)
    assert not small.system.network._forward_pre_hooks


def test_tasks_sample_as_many_clips_and_frames_as_they_say(small, monkeypatch):
    asked = []
    sample = small.system.sample
    monkeypatch.setattr(small.system, "sample", lambda *request: asked.append(request) or sample(*request))
    for task, precision in ((SAMPLE_ONE, "float32"), (SAMPLE_BATCH, "bfloat16"), (SAMPLE_LONG, "float32")):
        small.run(task, precision)
    assert asked == [(1, 16, torch.float32), (2, 16, torch.bfloat16), (1, 20, torch.float32)]


def test_the_benchmark_is_five_seconds_of_the_published_model():
    work = Work()
    assert (work.n_frames, work.batch, work.steps_per_level) == (375, 8, (12, *[1] * 7))
    assert (work.model.dim, work.model.n_layers, work.long_frames) == (512, 2, 30 * 75)


# Time


def test_runs_are_timed_in_turn_after_one_that_does_not_count(monkeypatch):
    calls, ticks = [], iter([0, 9, 9, 10, 10, 12, 12, 15, 15, 17, 17, 40])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    times = turn_by_turn([lambda: calls.append("a"), lambda: calls.append("b")], n_runs=3)
    assert "".join(calls) == "ab" + "ababab"
    assert times == [[9, 2, 2], [1, 3, 23]]


def test_both_sides_have_a_row_for_every_task_and_precision(small):
    rates, shown = {"float32": Rate(1e9, (1, 1, 1)), "bfloat16": Rate(4e9, (1, 1, 1))}, []
    memory = {"ours": 10.0, "peer": 20.0}
    sides = {"ours": small, "peer": Side(Ours(SMALL, CPU), SMALL, CPU)}
    rows = measure(sides, 1, rates, lambda side, *_: memory[side], shown.append)
    assert shown == rows and len(rows) == 12 and [row["best"] for row in rows] == [False, False, True] * 4
    for row in rows:
        assert row["share_of_limit"] == pytest.approx(row["limit_s"] / row["ours_s"]) and row["ours_mib"] == 10
        alone = row["task"] == SAMPLE_LONG
        assert (row["peer_s"], row["peer_mib"], row["ratio"]) == (None, None, None) if alone else row["peer_mib"] == 20
        assert alone or row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
        assert row["task"] in row_line(row) and row["precision"] in row_line(row)
    first, half = rows[:2]
    assert first["limit_s"] == pytest.approx(first["flops"] / 1e9) and half["limit_s"] == pytest.approx(
        first["flops"] / 4e9
    )


def test_a_compiled_model_competes_alone_and_only_for_the_best_row():
    sides = dict.fromkeys(("ours", "peer", "compiled"))
    found = contests(TRAIN, sides)
    assert found["float32"] == found["bfloat16"] == ["ours", "peer"]
    assert found["compiled float32"] == found["compiled bfloat16"] == ["compiled"]
    assert contests(SAMPLE_LONG, {"ours": None, "peer": None})["float32"] == ["ours"]


def test_best_sets_the_fastest_of_each_side_against_the_other():
    common = {"task": "t", "best": False, "flops": 1, "limit_s": 1.0, "ours_mib": 1.0, "peer_runs_s": []}
    rows = [
        common | {"precision": "float32", "ours_s": 4.0, "peer_s": 9.0, "peer_mib": 8.0, "share_of_limit": 0.25},
        common | {"precision": "bfloat16", "ours_s": 3.0, "peer_s": 12.0, "peer_mib": 7.0, "share_of_limit": 0.3},
        common | {"precision": "compiled bfloat16", "ours_s": 2.0, "peer_s": None, "share_of_limit": 0.5},
    ]
    best = best_row(rows)
    assert (best["ours_s"], best["peer_s"], best["ratio"], best["share_of_limit"]) == (2.0, 9.0, 4.5, 0.5)
    assert best["precision"] == "best: compiled bfloat16 against float32" and best["peer_mib"] == 8.0
    assert best["best"] and best["ours_precision"] == "compiled bfloat16"
    alone = best_row([row | {"peer_s": None, "ratio": None} for row in rows])
    assert alone["precision"] == "best: compiled bfloat16" and alone["ratio"] is None


# Limits


def forward_flops(shape: ModelConfig, batch: int, n: int) -> int:
    """Return a pass's operations up to the states, by hand: two for every weight and frame, and attention's."""
    dim, inner = shape.dim, 2 * shape.dim
    weights = 4 * dim * dim * shape.ff_mult + 3 * dim * dim + dim * dim  # feed-forward twice, attention
    weights += dim * 2 * inner + inner * dim + inner * shape.conv_kernel  # convolution
    return shape.n_layers * batch * (2 * n * weights + 4 * n * n * dim)


def test_operations_of_a_pass_are_those_counted_by_hand():
    model, codes = MaskedConformer(SHAPE), torch.randint(20, (2, 3, 12))
    with torch.no_grad():
        assert count_flops(lambda: model(codes)) == forward_flops(SHAPE, 2, 12)
        assert count_flops(lambda: model.logits(torch.zeros(5, 16), 1)) == 2 * 5 * 16 * 20


def test_the_way_back_takes_twice_the_operations_and_attention_once_more_the_scores():
    model, codes = MaskedConformer(SHAPE), torch.randint(20, (2, 3, 12))
    states = model(codes)
    attention = 4 * 2 * 12 * 12 * 16  # of the way there, scores and sums
    expected = 2 * forward_flops(SHAPE, 2, 12) + attention // 2  # the scores are computed again
    assert count_flops(lambda: states.sum().backward()) == expected


def test_gradients_of_a_grouped_convolution_are_counted_as_grouped():
    layer, x = torch.nn.Conv1d(6, 6, 3, padding=1, groups=6), torch.randn(2, 6, 10, requires_grad=True)
    there = 2 * 2 * 6 * 10 * 3
    out = layer(x)
    assert count_flops(lambda: layer(x)) == there
    assert count_flops(lambda: out.sum().backward()) == 2 * there
    out = layer(x.detach())  # no gradient of the input is asked for
    assert count_flops(lambda: out.sum().backward()) == there


def test_the_rate_is_the_best_of_all_shapes():
    shapes = [(8, 8, 8), (256, 256, 256)]
    rate = product_rate(CPU, "float32", shapes, n_runs=2)
    assert 1e8 < rate.flops_per_second < 1e14 and rate.shape == (256, 256, 256)


def test_the_models_own_shapes_are_among_those_timed():
    shapes = product_shapes(Work(), CPU)
    assert {(2048, 2048, 2048), (375, 512, 2048), (3000, 512, 1536), (3000, 512, 1024)} <= set(shapes)


@pytest.mark.parametrize(
    ("operator", "group"),
    [
        ("aten::addmm", "matrix products"), ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::mkldnn_convolution", "convolution"), ("aten::convolution_backward", "convolution"),
        ("aten::_foreach_add_", "optimizer and clipping"), ("Optimizer.step#Adam.step", "optimizer and clipping"),
        ("aten::native_layer_norm", "normalisation"), ("aten::masked_fill_", "looking up"),
        ("aten::scatter_", "looking up"), ("aten::copy_", "copying and casting"),
        ("aten::sort", "drawing and ordering"), ("aten::_log_softmax", "softmax and loss"), ("aten::silu", OTHER),
    ],
)  # fmt: skip
def test_operators_are_grouped_by_what_they_are_for(operator, group):
    assert group_of(operator) == group


def test_a_profile_shares_out_all_of_the_time():
    x = torch.randn(200, 200)
    rows, seconds = profile_groups(lambda: [x @ x for _ in range(20)], CPU)
    assert sum(row["share"] for row in rows) == pytest.approx(1) and 0 < seconds < 10
    assert rows[0]["group"] == "matrix products" and rows[0]["calls"] >= 20


# Memory


def test_memory_that_a_process_adds_is_seen():
    memory = PeakMemory(CPU)
    block = torch.ones(32 * 2**20, dtype=torch.uint8)
    added = memory.added_mib()
    del block
    assert 31 <= added < 200 and memory.added_mib() > 31  # the peak stays; the system counts in lots of pages
    assert PeakMemory(CPU).added_mib() < 16  # and the next one begins anew


def test_peak_memory_of_a_task_holds_at_least_weights_gradients_and_both_moments_of_adam():
    big = ModelConfig(n_levels=1, codebook_size=20, dim=256, n_layers=2, n_heads=4, conv_kernel=5)
    megabytes = 4 * sum(p.numel() for p in MaskedConformer(big).parameters()) / 2**20
    work = asdict(replace(SMALL, model=big))
    added = peak_mib("ours", TRAIN, "float32", "cpu", "", work)
    assert 3 * megabytes < added < 20 * megabytes


def test_a_process_of_its_own_gives_back_what_the_function_returns():
    assert call_apart("json:dumps", obj=[1, {"a": None}]) == '[1, {"a": null}]'
    with pytest.raises(ApartError, match=r"json:loads: .*Expecting value") as caught:
        call_apart("json:loads", s="nothing")
    assert not caught.value.out_of_memory


def test_a_process_that_the_system_killed_was_short_of_memory(monkeypatch):
    ended = SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(apart, "subprocess", SimpleNamespace(run=lambda *_, **__: ended))
    with pytest.raises(ApartError, match="json:dumps: exit status -9") as caught:
        call_apart("json:dumps")
    assert caught.value.out_of_memory


def test_memory_is_unknown_where_it_does_not_suffice_and_other_errors_are_not_hidden(monkeypatch):
    def fail(out_of_memory):
        def call(*_, **__):
            raise ApartError("failed", out_of_memory)

        return call

    peak = memory_apart(CPU, "", SMALL)
    monkeypatch.setattr(module, "call_apart", fail(True))
    assert peak("ours", TRAIN, "float32") is None
    monkeypatch.setattr(module, "call_apart", fail(False))
    with pytest.raises(ApartError):
        peak("ours", TRAIN, "float32")


# Goals


def best(task: str, **values) -> dict:
    return {"task": task, "best": True, "ratio": None, "ours_s": 1.0} | values


def test_a_goal_is_met_at_its_bound_and_not_below():
    rows = [best(TRAIN, ratio=3.0), best(SAMPLE_ONE, ratio=4.99)]
    rows.append({"task": SAMPLE_BATCH, "best": False, "ratio": 9.0})  # float32 against float32 decides nothing
    goals = check_goals(rows, "cpu")
    assert [goal["met"] for goal in goals] == ["yes", "no", "not run here"]
    assert goals[0]["target"] == "at least 3 times" and goals[2]["value"] is None


def test_goals_of_a_gpu_are_times_too():
    rows = [best(SAMPLE_ONE, ratio=8.0, ours_s=0.049), best(SAMPLE_LONG, ours_s=0.1)]
    found = {(goal["task"], goal["unit"]): goal for goal in check_goals(rows, "cuda")}
    assert found[SAMPLE_ONE, "ms"]["met"] == "yes" and found[SAMPLE_ONE, "ms"]["value"] == pytest.approx(49)
    assert found[SAMPLE_LONG, "ms"]["met"] == "no" and found[SAMPLE_LONG, "ms"]["target"] == "under 100 ms"
    assert check_goals(rows, "mps") == []


def test_the_goals_are_those_that_were_set():
    bounds = {kind: {(goal.task, goal.column): goal.bound for goal in goals} for kind, (_, goals) in GOALS.items()}
    assert bounds["cpu"] == {(TRAIN, RATIO): 3, (SAMPLE_ONE, RATIO): 5, (SAMPLE_BATCH, RATIO): 5}
    assert bounds["cuda"][SAMPLE_ONE, SECONDS] == 0.05 and bounds["cuda"][SAMPLE_LONG, SECONDS] == 0.1
    assert [bounds["cuda"][task, RATIO] for task in (TRAIN, SAMPLE_ONE, SAMPLE_BATCH)] == [4, 8, 8]


# The whole


def test_the_benchmark_writes_what_it_shows_with_machine_and_profiles(tmp_path, monkeypatch, small):
    monkeypatch.setattr(module, "product_shapes", lambda *_: [(16, 16, 16)])
    monkeypatch.setattr(module, "memory_apart", lambda *_: lambda *_: 12.0)
    monkeypatch.setattr(sides, "Peer", lambda folder, shape, steps: Ours(SMALL, CPU))
    lines = []
    result = bench(tmp_path, "cpu", 1, "peer", False, lines.append, SMALL)
    written = read_json(tmp_path / "bench.json")
    assert written["rows"] == result["rows"] and written["goals"] == result["goals"] and set(written) == set(result)
    assert result["passes"] == {"ours": 6, "peer": 6} and result["n_parameters"]["ours"] > 1000
    assert {"machine", "cores", "torch", "commit"} <= set(result) and result["device"].startswith("CPU")
    missed = [goal for goal in result["goals"] if goal["met"] == "no"]
    assert missed and all(goal["profile"]["groups"] and goal["profile"]["gpu_busy"] is None for goal in missed)
    assert len(lines) == 3 + 12 + len(goal_lines(result)) and result["machine"] in lines[0]
    record = read_json(tmp_path / "provenance.json")["steps"]["bench"]
    assert record["commit"] == result["commit"] and "started" not in record
    assert str(tmp_path) not in (tmp_path / "bench.json").read_text()


def test_what_cannot_be_run_is_named(tmp_path, capsys):
    with pytest.raises(InputError, match="n_runs=0"):
        bench(tmp_path, "cpu", 0)
    with pytest.raises(InputError, match="side='other'"):
        make_side("other", SMALL, CPU)
    assert module.main(["--peer", str(tmp_path), "--out", str(tmp_path), "--device", "cpu"]) == 1
    assert "make bench" in capsys.readouterr().err and not (tmp_path / "bench.json").exists()


def test_a_peer_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(InputError, match="make bench"):
        Peer(tmp_path, SHAPE, 2)
    assert "torchaudio" in UNUSED and str(tmp_path) not in sys.path
