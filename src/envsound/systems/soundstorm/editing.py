"""Starting from sound that exists: continuation, variation, inpainting, and clips of any length.

Each function decides which codes are kept and leaves the rest to `decoding.decode`. Codes are int64
[n_levels, n_frames], one clip at a time; the mask token marks what is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.decoding import DecodingConfig, decode


@dataclass(frozen=True)
class Editor:
    """A model with the way it decodes, for one clip at a time. category: a class index, a text's vector, or None."""

    model: MaskedConformer
    config: DecodingConfig
    category: int | Tensor | None = None

    def fill(self, known: Tensor, seed: int) -> Tensor:
        """Decode what is masked in known codes [n_levels, n_frames] and return all of them."""
        classes = None if self.category is None else [self.category]
        classes = torch.stack(classes) if isinstance(self.category, Tensor) else classes
        return decode(self.model, [known.shape[1]], [seed], self.config, classes, known[None])[0].cpu()

    def continuation(self, codes: Tensor, n_new: int, seed: int) -> Tensor:
        """Return codes [n_levels, n_frames + n_new] that begin with the given ones."""
        _check(codes, self.model)
        if n_new < 1:
            raise InputError(f"n_new={n_new}: expected at least one frame")
        asked = torch.full((codes.shape[0], n_new), self.model.mask_token)
        return self.fill(torch.cat([codes, asked], 1), seed)

    def variation(self, codes: Tensor, share: float, seed: int) -> Tensor:
        """Return codes of which a `share` of the frames, drawn at random, is made anew at every level."""
        _check(codes, self.model)
        if not 0 < share <= 1:
            raise InputError(f"share={share}: expected more than 0 and at most 1")
        n_frames = codes.shape[1]
        order = torch.randperm(n_frames, generator=torch.Generator().manual_seed(seed))
        known = codes.clone()
        known[:, order[: max(1, round(share * n_frames))]] = self.model.mask_token
        return self.fill(known, seed)

    def inpainting(
        self, codes: Tensor, start: int, stop: int, seed: int, first_level: int = 0, last_level: int | None = None
    ) -> Tensor:
        """Return codes made anew in frames start..stop - 1, at the levels from first_level to last_level (all).

        With the coarse levels kept, the gist of a passage stays and its detail is drawn again.
        """
        _check(codes, self.model)
        last_level = codes.shape[0] - 1 if last_level is None else last_level
        if not 0 <= start < stop <= codes.shape[1]:
            raise InputError(f"start={start}, stop={stop}: expected 0 <= start < stop <= {codes.shape[1]} frames")
        if not 0 <= first_level <= last_level < codes.shape[0]:
            raise InputError(
                f"first_level={first_level}, last_level={last_level}: expected 0 <= first <= last < {codes.shape[0]}"
            )
        known = codes.clone()
        known[first_level : last_level + 1, start:stop] = self.model.mask_token
        return self.fill(known, seed)

    def long_clip(
        self,
        n_frames: int,
        seed: int,
        window: int,
        overlap: int,
        on_window: Callable[[int], None] | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Return codes [n_levels, n_frames] made window by window, each continuing the last `overlap` frames.

        start: codes [n_levels, fewer than n_frames] that they begin with. The model never sees more than `window`
        frames, the length it was trained on, and a clip never needs more memory than that. The codec decodes the codes
        in one go, so that a seam could only be in the codes. on_window(n_done) is called after each window.
        """
        if start is not None:
            _check(start, self.model)
        if not 0 < overlap < window:
            raise InputError(f"window={window}, overlap={overlap}: expected 0 < overlap < window frames")
        if n_frames < 1:
            raise InputError(f"n_frames={n_frames}: expected at least one frame")
        seeds = torch.Generator().manual_seed(seed)
        codes = torch.full((self.model.config.n_levels, 0), 0) if start is None else start
        while codes.shape[1] < n_frames:
            past = codes[:, -overlap:] if codes.shape[1] else codes
            n_new = min(window - past.shape[1], n_frames - codes.shape[1])
            own = int(torch.randint(2**31, (1,), generator=seeds))
            made = self.continuation(past, n_new, own) if past.shape[1] else self._start(n_new, own)
            codes = torch.cat([codes, made[:, past.shape[1] :]], 1)
            if on_window is not None:
                on_window(codes.shape[1])
        return codes

    def _start(self, n_frames: int, seed: int) -> Tensor:
        return self.fill(torch.full((self.model.config.n_levels, n_frames), self.model.mask_token), seed)


def _check(codes: Tensor, model: MaskedConformer) -> None:
    n_levels = model.config.n_levels
    if codes.ndim != 2 or codes.shape[0] != n_levels or codes.shape[1] == 0 or codes.is_floating_point():
        raise InputError(
            f"codes: {codes.dtype} of shape {tuple(codes.shape)}; expected integers [{n_levels} levels, n_frames]"
        )
    if int(codes.min()) < 0 or int(codes.max()) >= model.mask_token:
        raise InputError(
            f"codes: values {int(codes.min())} to {int(codes.max())}; expected 0 to {model.mask_token - 1}"
        )
