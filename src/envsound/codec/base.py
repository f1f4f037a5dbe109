"""What the study asks of a codec, whoever made it."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from envsound.base.errors import InputError


class Codec(Protocol):
    """A neural codec that turns a clip into `n_levels` parallel streams of codes.

    Attributes: sample_rate (Hz), frame_rate (frames/s), n_levels, codebook_size (codes per level), name, and
    content_hash, 64 hexadecimal digits that change with the weights and with the number of levels.
    """

    name: str
    sample_rate: int
    frame_rate: int
    n_levels: int
    codebook_size: int
    content_hash: str

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames that cover `n_samples` samples (the last one may be partly silence)."""
        ...

    def encode(self, clips: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """Encode float32 clips [batch, n_samples] to int64 codes [batch, n_levels, n_frames].

        `n_samples` [batch] gives the valid length of each clip in a padded batch. A clip's codes do not depend
        on the padding; frames after its own last one are filled with `codebook_size`, the mask token.
        """
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Decode int codes [batch, n_levels, n_frames] to float32 clips [batch, n_frames * hop] in [-1, 1]."""
        ...


def encode_by_length(
    encode: Callable[[Tensor], Tensor],
    clips: Tensor,
    n_samples: Tensor | None,
    n_levels: int,
    mask_token: int,
) -> Tensor:
    """Encode a padded batch so that no clip's codes depend on the padding: clips of equal length go together.

    `encode` maps clips [batch, n] of one common length to codes [batch, n_levels, n_frames]. Returns int64 codes
    [batch, n_levels, max n_frames] with `mask_token` after each clip's own last frame.
    Raises InputError when the shapes do not fit or a length is not in 1..clips.shape[1].
    """
    if clips.ndim != 2 or clips.numel() == 0:
        raise InputError(f"clips: shape {tuple(clips.shape)}; expected [batch, n_samples] with samples in it")
    if n_samples is None:
        return encode(clips)
    lengths = torch.as_tensor(n_samples).tolist()
    if len(lengths) != len(clips) or not all(0 < length <= clips.shape[1] for length in lengths):
        raise InputError(
            f"n_samples: {lengths}; expected {len(clips)} lengths between 1 and {clips.shape[1]}, one for each clip"
        )
    pieces: dict[int, Tensor] = {}
    for length in sorted(set(lengths)):
        rows = [row for row, own in enumerate(lengths) if own == length]
        pieces.update(zip(rows, encode(clips[rows, :length]), strict=True))
    longest = max(piece.shape[-1] for piece in pieces.values())
    codes = torch.full((len(clips), n_levels, longest), mask_token, dtype=torch.long, device=clips.device)
    for row, piece in pieces.items():
        codes[row, :, : piece.shape[-1]] = piece
    return codes


def check_codes(codes: Tensor, n_levels: int, codebook_size: int) -> None:
    """Raise InputError unless `codes` are integers [batch, 1..n_levels, n_frames] in 0..codebook_size - 1."""
    if codes.ndim != 3 or not 1 <= codes.shape[1] <= n_levels or codes.numel() == 0:
        raise InputError(
            f"codes: shape {tuple(codes.shape)}; expected [batch, 1 to {n_levels} levels, n_frames] with frames in it"
        )
    if codes.is_floating_point():
        raise InputError(f"codes: dtype {codes.dtype}; expected integers")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= codebook_size:
        raise InputError(
            f"codes: values from {low} to {high}; expected 0 to {codebook_size - 1} "
            f"({codebook_size} is the mask token, which cannot be decoded)"
        )
