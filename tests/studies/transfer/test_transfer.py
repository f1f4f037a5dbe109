"""Transfer: equal amounts apart from each other, everything equal but the start, and what the page shows of it."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fakes.codecs import SampleCodec

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_json
from envsound.report.assets import Assets
from envsound.report.fragments import Staging
from envsound.run.presets import notebook_parameters
from envsound.studies.transfer import page, transfer
from envsound.studies.transfer.figures import transfer_curves
from envsound.studies.transfer.transfer import FINAL_COLUMNS, Target, final_losses, run_transfer, same_amount
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import TrainingConfig

CPU, RATE = torch.device("cpu"), 24_000
SHAPE = ModelConfig(n_levels=2, codebook_size=8, dim=16, n_layers=1, n_heads=2, conv_kernel=3, dropout=0.0)
CONFIG = TrainingConfig(num_epochs=1, batch_size=4, lr=3e-3, precision="32-true")


def clips(n: int, seed: int, lengths: tuple[int, int] = (6, 20)) -> CodeSet:
    draws = np.random.default_rng(seed)
    codes = [draws.integers(8, size=(2, draws.integers(*lengths))).astype(np.int16) for _ in range(n)]
    return CodeSet(codes, draws.integers(3, size=n), list("abc"))


def recordings(tmp_path, name: str) -> SimpleNamespace:
    """Three clips of 0.2 to 0.3 s a fold, whose samples hold their fold: a code says where it came from."""
    rows, found = [], {}
    for fold, number in itertools.product((1, 2, 3, 4, 5), range(3)):
        clip, n_samples, path = f"{name}-{fold}-{number}", 4800 + 600 * number, tmp_path / f"{name}-{fold}-{number}.wav"
        path.write_bytes(clip.encode())
        found[clip] = np.full(n_samples, fold / 8, np.float32)
        rows.append((clip, path.name, str(path), fold, "dog", 0, n_samples, n_samples / RATE))
    columns = ["clip_id", "filename", "path", "fold", "category", "target", "n_samples", "seconds"]
    table = pd.DataFrame(rows, columns=columns)
    return SimpleNamespace(table=table, load=found.get, sample_rate=RATE, clip_seconds=5.0, cut=name)


def fold_of(codes: np.ndarray) -> set[int]:
    """SampleCodec's coarsest code of a sample x is floor(8 x + 8)."""
    return set((codes[0] - 8).tolist())


def test_equal_amounts_are_stretches_of_the_clips():
    sides = [clips(30, 0), clips(12, 1, (10, 40))]
    taken, again = same_amount(sides, 8, 10, seed=3), same_amount(sides, 8, 10, seed=3)
    for side, original in zip(taken, sides, strict=True):
        assert [codes.shape for codes in side.codes] == [(2, 10)] * 8
        whole = ["|" + ",".join(map(str, codes[0])) + "|" for codes in original.codes]
        stretches = [",".join(map(str, codes[0])) for codes in side.codes]
        assert all(any(stretch in text for text in whole) for stretch in stretches)
    assert all((a == b).all() for a, b in zip(taken[0].codes, again[0].codes, strict=True))
    with pytest.raises(InputError, match="n_clips=13: only 12"):
        same_amount(sides, 13, 10, seed=3)


def test_amounts_are_equal_and_no_speaker_or_fold_is_on_two_sides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sounds = recordings(tmp_path, "speech"), recordings(tmp_path, "sound")
    material = transfer.transfer_material(*sounds, SampleCodec(), held_out_fold=1, n_clips=2, clip_seconds=64.0, seed=0)
    speech, sound = material.targets
    assert [target.name for target in material.targets] == ["speech", "environment"]
    for target in material.targets:
        assert {codes.shape for codes in target.train.codes + target.watched.codes} == {(4, 4800)}
    assert set.union(*map(fold_of, speech.train.codes)) == {4}
    assert set.union(*map(fold_of, speech.watched.codes)) == {5}
    assert set.union(*map(fold_of, material.pretraining.train.codes)) == {1, 2, 3}
    assert set.union(*map(fold_of, sound.train.codes)) <= {2, 3, 4, 5}
    assert set.union(*map(fold_of, sound.watched.codes)) == {1}
    assert material.table()["clips"].tolist() == [9, 3, 2, 3, 2, 3]
    for fold, n_clips, message in ((7, 1, "held_out_fold=7"), (1, 9, "n_clips=9")):
        with pytest.raises(InputError, match=message):
            transfer.transfer_material(*sounds, SampleCodec(), fold, n_clips, 64.0, 0)


def test_the_starts_differ_in_their_weights_alone_and_nothing_is_done_twice(tmp_path, monkeypatch):
    targets = [Target("sound", clips(8, 2), clips(4, 3)), Target("speech", clips(8, 4), clips(4, 5))]
    plan = transfer.TransferPlan(SHAPE, CONFIG, CONFIG, seeds=(0, 1))
    given = (plan, Target("pretraining", clips(8, 6), clips(4, 7)), targets, tmp_path, CPU, "abc")
    losses = run_transfer(*given)
    assert list(losses.columns) == transfer.COLUMNS and np.isfinite(losses["loss"]).all()
    assert losses.groupby(["target", "start", "seed"]).size().tolist() == [3] * 2 * (1 + 2 * 2)
    firsts = losses[(losses["target"] == "sound") & (losses["level"] == "all") & (losses["epoch"] == 1)]
    assert firsts["loss"].nunique() == 4  # two starts, two seeds
    monkeypatch.setattr("envsound.systems.soundstorm.training.Trainer._train_step", None)  # calling it would fail
    pd.testing.assert_frame_equal(run_transfer(*given), losses)
    panels = {ax.get_title(loc="left"): len(ax.lines) for ax in transfer_curves(losses).axes}
    assert panels == {"sound": 5, "speech": 5}  # lines: every seed from either start, and the code frequencies


def test_final_losses_and_the_head_start():
    ends = {"random": 5.0, "speech": 4.0, "pretraining": 1.0}
    curves = pd.DataFrame([
        {"target": "sound", "start": start, "seed": seed, "epoch": epoch, "level": "all",
         "loss": 7 + (end - 7) * epoch / 4, "unigram": 6.0}
        for start, end in ends.items() for seed in (0, 1) for epoch in (1, 2, 3, 4)
    ])  # fmt: skip
    final = final_losses(curves)
    assert list(final) == FINAL_COLUMNS and final["difference"].tolist() == [-1.0, -1.0]
    assert final["head_start"].tolist() == [3.0, 3.0]  # 7 - 3/4 * 3 = 4.75 is the first at or below 5
    worse = final_losses(curves.replace({"start": {"random": "speech", "speech": "random"}}))
    assert worse["head_start"].isna().all() and worse["difference"].tolist() == [1.0, 1.0]


def test_the_page_shows_the_report_or_says_that_there_is_none(tmp_path):
    book = Staging(tmp_path / "published", tmp_path / "book", Assets(tmp_path / "book", [tmp_path]))
    page.stage(book)
    result, folder = tmp_path / "book" / "executed" / "transfer" / "result.txt", tmp_path / "published" / "transfer"
    assert "Nothing published yet" in result.read_text()
    assert str(page.facts(tmp_path)["transfer"]["speech"]["random"]) == "not measured"
    rows = [("environment", 0, "all", 5.0, 4.5, -0.5, 3.0), ("environment", 0, "0", 5.0, 4.5, -0.5, float("nan"))]
    write_csv(folder / "transfer_final.csv", pd.DataFrame(rows, columns=FINAL_COLUMNS))
    given = {"n_clips": 100, "clip_seconds": 2.0, "n_layers": 2, "dim": 256, "codec": "patches", "seeds": [0],
             "pretraining_epochs": 9, "finetuning_epochs": 8}  # fmt: skip
    record = {"parameters": given, "facts": {"cut": "ESC-10", "speech": "synthetic speech"}, "commit": "abc"}
    write_json(folder / "provenance.json", {"steps": {"12_transfer_from_speech": record}})
    (folder / "figures").mkdir()
    (folder / "figures" / "transfer.png").write_bytes(b"png")
    page.stage(book)
    text = result.read_text()
    assert ":Speech: synthetic speech" in text and "9 of pretraining, 8 of fine-tuning" in text
    assert "```{figure} ../_static" in text and text.count("| environment | 0 | 5 | 4.5 | -0.500 | 3 |") == 1
    found = {"random": "5.000", "speech": "4.500", "difference": "-0.500", "head_start": "3"}
    assert page.facts(tmp_path / "published") == {"transfer": {"environment": found}}


def test_the_files_of_parameters_hold_the_notebooks_own(request):
    notebooks = request.config.rootpath / "notebooks" / "studies"
    known = set(notebook_parameters(notebooks / "12_transfer_from_speech.ipynb"))
    assert [set(yaml.safe_load(file.read_text())) <= known for file in notebooks.glob("transfer/*.yml")] == [True] * 2
