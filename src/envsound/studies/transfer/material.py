"""The material of the transfer from speech: the same amount of codes of speech and of environmental sound."""

from dataclasses import dataclass

import pandas as pd

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.codes import encode_recordings
from envsound.data.recordings import Recordings
from envsound.studies.transfer.transfer import Target, same_amount
from envsound.systems.soundstorm.batches import CodeSet, load_code_set

PRETRAINED_FOLDS, TUNED_FOLD, WATCHED_FOLD = (1, 2, 3), 4, 5  # of speech; no speaker is in two folds


@dataclass(frozen=True)
class Material:
    """Speech to pretrain on, and what is fine-tuned on afterwards: as many clips of one length of either kind."""

    pretraining: Target
    targets: list[Target]

    def table(self) -> pd.DataFrame:
        """Return how many clips, of how many frames, every side has."""
        rows = []
        for target in (self.pretraining, *self.targets):
            for role, side in (("trained on", target.train), ("watched", target.watched)):
                rows.append((target.name, role, len(side), side.codes[0].shape[1]))
        return pd.DataFrame(rows, columns=["material", "role", "clips", "frames each"])


def transfer_material(
    speech: Recordings,
    environment: Recordings,
    codec: Codec,
    held_out_fold: int,
    n_clips: int,
    clip_seconds: float,
    seed: int,
) -> Material:
    """Encode both kinds, and share them out.

    Speech: pretraining on folds 1 to 3, fine-tuning on `n_clips` of fold 4, watched on fold 5, so that no speaker is
    on two sides. Environment: fine-tuning on `n_clips` of the other folds, watched on `held_out_fold`. Every clip that
    is compared is a stretch of `clip_seconds`; pretraining takes its clips whole. Raises InputError when a side has
    too few clips of that length.
    """
    n_frames = round(clip_seconds * codec.frame_rate)
    sides = {"speech": _sides(speech, codec, TUNED_FOLD, WATCHED_FOLD)}
    folds = sorted(environment.table["fold"].unique())
    if held_out_fold not in folds or len(folds) < 2:
        raise InputError(f"held_out_fold={held_out_fold}: expected one of at least two folds, found {folds}")
    sides["environment"] = _sides(environment, codec, [fold for fold in folds if fold != held_out_fold], held_out_fold)
    trained = same_amount([side[0] for side in sides.values()], n_clips, n_frames, seed)
    n_watched = min(_count(side[1], n_frames) for side in sides.values())
    watched = same_amount([side[1] for side in sides.values()], n_watched, n_frames, seed)
    targets = [Target(name, *pair) for name, pair in zip(sides, zip(trained, watched, strict=True), strict=True)]
    whole, _ = _sides(speech, codec, list(PRETRAINED_FOLDS), WATCHED_FOLD)
    return Material(Target("pretraining", whole, targets[0].watched), targets)


def _sides(recordings: Recordings, codec: Codec, trained: int | list[int], watched: int) -> tuple[CodeSet, CodeSet]:
    codes = encode_recordings(recordings, codec)
    trained = [trained] if isinstance(trained, int) else trained
    chosen = (codes[codes["fold"].isin(trained)], codes[codes["fold"] == watched])
    first, second = (load_code_set(side.assign(category="any"), ["any"], codec.content_hash) for side in chosen)
    return first, second


def _count(side: CodeSet, n_frames: int) -> int:
    return sum(codes.shape[1] >= n_frames for codes in side.codes)
