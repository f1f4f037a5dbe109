"""Write one decoding of the generator that ships, pass by pass, for the book to show and play.

    python tools/one_decoding.py data/published/decoding     # passes.csv, and clips/<passes>.ogg

passes.csv has a row for each code: its level, its column, and the pass that fixed it. A clip is what the codec makes of
the codes so far, each that is still hidden replaced by the quietest code of its level.
"""

import sys
from pathlib import Path

import pandas as pd
import torch

from envsound.base.files import write_csv, write_ogg
from envsound.systems.soundstorm.decoding import decode
from envsound.systems.soundstorm.generator import load_generator

CATEGORY, SEED, SECONDS = "dog", 0, 5.0
HEARD = (4, 12, 20, 28, 36)  # passes after which it is played


def main(out: str) -> None:
    generator = load_generator(device="cpu")
    (request,), system = generator.requests(CATEGORY, SECONDS, 1, SEED), generator.system
    vectors = system.codec.quantizer.vectors  # [n_levels, codebook_size, patch], log-mel
    quietest = vectors.mean(dim=2).argmin(dim=1)[:, None]
    mask, fixed_by, n_passes = system.codec.codebook_size, {}, 0

    def note(level: int, step: int, codes: torch.Tensor) -> None:
        nonlocal n_passes
        n_passes += 1
        for place in (codes[0] != mask).nonzero().tolist():
            fixed_by.setdefault(tuple(place), n_passes)
        if n_passes in HEARD:
            heard = torch.where(codes[0] == mask, quietest, codes[0])
            write_ogg(Path(out) / "clips" / f"{n_passes:02d}.ogg", system.sound(heard), system.sample_rate)

    classes = [system.categories.index(CATEGORY)]
    decode(system.checkpoint.model, [system.n_frames(request)], [request.seed], system.decoding, classes, on_step=note)
    rows = [{"level": level, "column": column, "pass": number} for (level, column), number in fixed_by.items()]
    told = {"category": CATEGORY, "seed": request.seed, "generator": system.checkpoint_sha256[:8]}
    write_csv(Path(out) / "passes.csv", pd.DataFrame(rows).sort_values(["level", "column"]).assign(**told))


if __name__ == "__main__":
    main(*sys.argv[1:])
