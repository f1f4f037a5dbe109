"""Write clips of patch codes that need no model, for judges and readers to hear beside one.

    python tools/counted_clips.py OUT     # OUT/<system>/<class>/<number>.wav, ten clips a class, seed 0

Held-out recordings through the codec are named after the recording, and are as many as there are.

Drawn codes are counted in the recordings that ship, outside fold 1: each code by itself, each after the one before, and
chains of whole columns, with and without copying (see `codec.counting`).
"""

import sys
from pathlib import Path

import numpy as np

from envsound.base.files import write_wav
from envsound.codec import load_codec
from envsound.codec.codes import decode, encode_recordings, load_codes
from envsound.codec.counting import CodeDraws, ColumnChain
from envsound.data.recordings import load_recordings

N_PER_CLASS, SEED, HELD_OUT = 10, 0, 1
CHAINS = {"chain, copies": True, "chain, no copies": False}


def main(out: str) -> None:
    codec = load_codec("patches", device="cpu")
    rows = encode_recordings(load_recordings("material"), codec)
    for row in rows[rows["fold"] == HELD_OUT].itertuples():
        clip = decode(load_codes(row.codes_file), row.seconds, codec)
        name = f"{Path(row.filename).stem}.wav"
        write_wav(Path(out) / "patches, with their decoder" / row.category / name, clip, codec.sample_rate)
    others = rows[rows["fold"] != HELD_OUT]
    draws, vectors = CodeDraws(others, codec), codec.quantizer.vectors.numpy()
    names = sorted(set(others["category"]))
    chains = {name: ColumnChain(draws.of_class(name), vectors) for name in names}
    for number, row in enumerate(others.groupby("category", sort=False).head(N_PER_CLASS).itertuples()):
        for kind in ("unigram", "bigram", *CHAINS):
            rng = np.random.default_rng([SEED, number, *kind.encode()])
            if kind in CHAINS:
                codes = chains[row.category].draw(int(row.n_frames), rng, CHAINS[kind])
            else:
                codes = draws.codes(kind, row, rng)
            clip = decode(codes, row.seconds, codec)
            write_wav(Path(out) / f"{kind}, patch codes" / row.category / f"{number:04d}.wav", clip, codec.sample_rate)


if __name__ == "__main__":
    main(*sys.argv[1:])
