"""Write clips of the codec with phase, for judges to hear before it goes: through its levels, and from its codes alone.

    python tools/phase_tokens.py DATA OUT     # DATA: ESC-50's folder; OUT/<system>/<class>/<clip>.wav

Reconstructions are of all clips of fold 1 and the first ten of each class outside it, at 8, 4, 2 and 1 levels. Codes
are drawn for ten clips a class from the clips outside fold 1: each by itself, each after the one before, and as chains
of whole columns, in which the next column follows one with the same code at level 0 somewhere in a training clip of the
class (the chain that may not copy never goes on in the clip it is in).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from envsound.base.files import write_wav
from envsound.codec import load_codec
from envsound.codec.codes import decode, encode_recordings, load_codes
from envsound.codec.counting import CodeDraws
from envsound.data.recordings import load_recordings

LEVELS, N_EACH, N_PER_CLASS, SEED = (8, 4, 2, 1), 10, 10, 0


def chain(clips: list[np.ndarray], n_frames: int, copies: bool, rng: np.random.Generator) -> np.ndarray:
    """Return codes [n_levels, n_frames]: columns of clips, each the successor of one with the last one's code 0."""
    columns = np.concatenate(clips, axis=1)
    clip_of = np.repeat(np.arange(len(clips)), [clip.shape[1] for clip in clips])
    goes_on = np.flatnonzero(np.append(clip_of[1:] == clip_of[:-1], False))
    now = int(rng.choice(goes_on))
    path = [now]
    while len(path) < n_frames:
        found = goes_on[columns[0, goes_on] == columns[0, now]]
        found = found if copies else found[clip_of[found] != clip_of[now]]
        now = int(rng.choice(found if len(found) else goes_on)) + 1
        path.append(now)
    return columns[:, path]


def main(data: str, out: str) -> None:
    torch.set_num_threads(1)
    codec = load_codec("bundled")
    rows = encode_recordings(load_recordings("esc50", data, esc10_only=True), codec)
    held_out, others = rows[rows["fold"] == 1], rows[rows["fold"] != 1]
    heard = pd.concat([held_out, others.groupby("category", sort=False).head(N_PER_CLASS)])
    draws, folder = CodeDraws(others, codec), Path(out)
    for n_levels in LEVELS:
        for row in heard.itertuples():
            clip = decode(load_codes(row.codes_file, codec.content_hash)[:n_levels], row.seconds, codec)
            name = f"codec with phase, {n_levels} of 8 levels"
            write_wav(folder / name / row.category / f"{Path(row.filename).stem}.wav", clip, codec.sample_rate)
    for number, row in enumerate(others.groupby("category", sort=False).head(N_EACH).itertuples()):
        clips = draws.of_class(row.category)
        for kind in ("unigram", "bigram", "chain, copies", "chain, no copies"):
            rng = np.random.default_rng([SEED, number, *kind.encode()])
            if kind in ("unigram", "bigram"):
                codes = draws.codes(kind, row, rng)
            else:
                codes = chain(clips, int(row.n_frames), kind == "chain, copies", rng)
            name = f"{kind}, codes with phase"
            write_wav(folder / name / row.category / f"{number:04d}.wav", decode(codes, row.seconds, codec), 24_000)


if __name__ == "__main__":
    main(*sys.argv[1:])
