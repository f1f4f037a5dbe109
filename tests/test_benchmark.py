"""The benchmark's arithmetic, on a peer of the test's own; the real one is installed for `make bench` alone."""

import sys
from types import SimpleNamespace

import pytest
import torch

from envsound import benchmark
from envsound.benchmark import Ours, Side, best_row, line, measure, multiplication_rate, turn_by_turn
from envsound.benchmark_peer import UNUSED, Peer
from envsound.conformer import MaskedConformer, ModelConfig
from envsound.errors import InputError


@pytest.fixture
def small(monkeypatch):
    shape = ModelConfig(dim=16, n_layers=1, n_heads=2, conv_kernel=5)
    monkeypatch.setattr(benchmark, "N_FRAMES", 12)
    monkeypatch.setattr(benchmark, "BATCH", 2)
    monkeypatch.setattr(benchmark, "FIRST_STEPS", 2)

    def side() -> Side:
        system = Ours()
        system.model = MaskedConformer(shape)
        return Side(system, torch.device("cpu"))

    return side


def test_runs_are_timed_in_turn_and_their_median_is_taken(monkeypatch):
    calls, ticks = [], iter([0, 9, 9, 10, 10, 12, 12, 15, 15, 17, 17, 40])
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    medians = turn_by_turn([lambda: calls.append("a"), lambda: calls.append("b")], n_runs=3)
    assert "".join(calls) == "ab" + "ababab"  # the first of each is not timed
    assert medians == [2, 3]  # of 9, 2, 2 and 1, 3, 23


def test_a_training_step_moves_the_weights_and_counts_its_products(small):
    side = small()
    before = side.system.model.blocks[0].norm.weight.clone()
    assert side.flops("training step") > side.flops("sample 1 clip") / 4 > 0
    assert not torch.equal(side.system.model.blocks[0].norm.weight, before)


def test_both_sides_of_a_table_are_measured(small):
    shown = []
    rows = measure({"ours": small(), "peer": small()}, 1, shown.append)
    assert shown == rows and len(rows) == 9
    for row in rows:
        assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"]) and row["ours_s"] > 0
        assert row["share_of_limit"] == pytest.approx(row["limit_s"] / row["ours_s"])
        assert row["task"] in line(row)


def test_best_sets_the_faster_precision_of_each_side_against_the_other():
    common = {"task": "t", "flops": 1, "limit_s": 1.0}
    rows = [
        common | {"precision": "float32", "ours_s": 4.0, "peer_s": 9.0, "share_of_limit": 0.25},
        common | {"precision": "bfloat16", "ours_s": 2.0, "peer_s": 12.0, "share_of_limit": 0.5},
    ]
    best = best_row("t", rows)
    assert (best["ours_s"], best["peer_s"], best["ratio"], best["share_of_limit"]) == (2.0, 9.0, 4.5, 0.5)
    assert best["precision"] == "best: bfloat16 against float32"


def test_the_rate_is_that_of_a_matrix_product():
    assert 1e8 < multiplication_rate(torch.device("cpu"), "float32", size=256, n_runs=2) < 1e14


def test_a_peer_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(InputError, match="make bench"):
        Peer(tmp_path, 16, 1, 2, 5, 2)
    assert "torchaudio" in UNUSED and str(tmp_path) not in sys.path
