"""Material of the transfer: equal amounts, and no speaker or fold on two sides."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import SampleCodec

from envsound.base.errors import InputError
from envsound.studies.transfer.figures import transfer_curves
from envsound.studies.transfer.material import transfer_material

RATE = 24_000


def recordings(tmp_path, name: str, per_fold: int, folds=(1, 2, 3, 4, 5)) -> SimpleNamespace:
    """Clips of 0.2 to 0.4 s whose samples hold their fold: a code says where it came from."""
    rows, clips = [], {}
    for fold in folds:
        for number in range(per_fold):
            clip = f"{name}-{fold}-{number}"
            path = tmp_path / f"{clip}.wav"
            path.write_bytes(clip.encode())
            n_samples = 4800 + 600 * number
            clips[clip] = np.full(n_samples, fold / 8, np.float32)
            rows.append((clip, path.name, str(path), fold, "dog", 0, n_samples, n_samples / RATE))
    columns = ["clip_id", "filename", "path", "fold", "category", "target", "n_samples", "seconds"]
    table = pd.DataFrame(rows, columns=columns)
    return SimpleNamespace(table=table, load=clips.get, sample_rate=RATE, clip_seconds=5.0, cut=name)


def fold_of(codes: np.ndarray) -> set[int]:
    """SampleCodec's coarsest code of a sample x is floor(8 x + 8)."""
    return set((codes[0] - 8).tolist())


@pytest.fixture
def material(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sounds = recordings(tmp_path, "speech", 4), recordings(tmp_path, "sound", 4)
    return transfer_material(*sounds, SampleCodec(), held_out_fold=1, n_clips=3, clip_seconds=64.0, seed=0)


def test_amounts_are_equal_and_sides_are_apart(material):
    speech, sound = material.targets
    assert [target.name for target in material.targets] == ["speech", "environment"]
    for target in material.targets:
        assert {codes.shape for codes in target.train.codes + target.watched.codes} == {(4, 4800)}
        assert len(target.train) == 3 and len(target.watched) == 4
    assert set.union(*map(fold_of, speech.train.codes)) == {4}
    assert set.union(*map(fold_of, speech.watched.codes)) == {5}
    assert set.union(*map(fold_of, material.pretraining.train.codes)) == {1, 2, 3}
    assert set.union(*map(fold_of, sound.train.codes)) <= {2, 3, 4, 5}
    assert set.union(*map(fold_of, sound.watched.codes)) == {1}
    assert material.table()["clips"].tolist() == [12, 4, 3, 4, 3, 4]


def test_what_cannot_be_shared_out_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    speech, sound = recordings(tmp_path, "speech", 2), recordings(tmp_path, "sound", 2)
    with pytest.raises(InputError, match="held_out_fold=7"):
        transfer_material(speech, sound, SampleCodec(), 7, 1, 64.0, 0)
    with pytest.raises(InputError, match="n_clips=9"):
        transfer_material(speech, sound, SampleCodec(), 1, 9, 64.0, 0)


def test_every_seed_is_a_line():
    rows = [
        {"target": target, "start": start, "seed": seed, "epoch": epoch, "level": "all", "loss": 6.0, "unigram": 5.5}
        for target in ("speech", "environment") for start in ("random", "speech", "pretraining")
        for seed in (0, 1, 2) for epoch in (1, 2)
    ]  # fmt: skip
    fig = transfer_curves(pd.DataFrame(rows))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["speech", "environment"]
    assert [len(ax.lines) for ax in fig.axes] == [7, 7]
