"""What the study asks of a codec, whoever made it, and what each of its own trainable codecs is made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from envsound.base.errors import InputError
from envsound.codec.quantizer import ResidualQuantizer

SILENCE_RMS = 2e-4  # full scale 1; a decoded frame quieter than this (-74 dB) is digital silence
CEILING = 0.99  # full scale 1; the loudest sample that `limit_peaks` leaves


class Codec:
    """A neural codec that turns a clip into `n_levels` parallel streams of codes.

    Attributes: sample_rate (Hz), frame_rate (frames/s), n_levels, codebook_size (codes per level), name, device, and
    content_hash, 64 hexadecimal digits that change with the weights and with the number of levels.
    Every codec gives `_encode` (clips [batch, n] of one length to codes [batch, n_levels, n_frames]), `_vectors` (codes
    to what they stand for) and `_sound` (that to clips); batches of unequal clips and the check of codes are here.
    """

    name: str
    sample_rate: int
    frame_rate: float
    n_levels: int
    codebook_size: int
    content_hash: str
    device: torch.device

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames that cover `n_samples` samples (the last one may be partly silence)."""
        return -(-n_samples // round(self.sample_rate / self.frame_rate))

    @torch.no_grad()
    def encode(self, clips: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """Encode float32 clips [batch, n_samples] to int64 codes [batch, n_levels, n_frames].

        `n_samples` [batch] gives the valid length of each clip in a padded batch. A clip's codes do not depend
        on the padding; frames after its own last one are filled with `codebook_size`, the mask token.
        """
        return encode_by_length(self._encode, clips.to(self.device), n_samples, self.n_levels, self.codebook_size)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode int codes [batch, 1..n_levels, n_frames] to float32 clips [batch, n_frames * hop] in [-1, 1].

        Raises InputError for the mask token or any other value that is not a code.
        """
        return self._sound(self.dequantise(codes))

    @torch.no_grad()
    def dequantise(self, codes: Tensor) -> Tensor:
        """Return what codes [batch, 1..n_levels, n_frames] stand for before decoding: [batch, latent_dim, n_frames].

        The sum of the levels' code vectors. Raises InputError as `decode` does.
        """
        check_codes(codes, self.n_levels, self.codebook_size)
        return self._vectors(codes.long().to(self.device))


def encode_by_length(
    encode: Callable[[Tensor], Tensor], clips: Tensor, n_samples: Tensor | None, n_levels: int, mask_token: int
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
        expected = f"expected {len(clips)} lengths between 1 and {clips.shape[1]}, one for each clip"
        raise InputError(f"n_samples: {lengths}; {expected}")
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
        expected = f"[batch, 1 to {n_levels} levels, n_frames] with frames in it"
        raise InputError(f"codes: shape {tuple(codes.shape)}; expected {expected}")
    if codes.is_floating_point():
        raise InputError(f"codes: dtype {codes.dtype}; expected integers")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= codebook_size:
        expected = f"0 to {codebook_size - 1} ({codebook_size} is the mask token, which cannot be decoded)"
        raise InputError(f"codes: values from {low} to {high}; expected {expected}")


class Autoencoder(nn.Module, ABC):
    """Encoder, residual quantizer and decoder between clips [batch, n_samples] and codes [batch, n_levels, n_frames].

    A generator subclasses it and provides `latents` (clips to latents) and `decode_latents` (latents to whatever its
    last layer gives). One whose decoder holds noise also provides `render` (what the last layer gave, and white
    noise, to clips) and `likelihood_loss`. A clip is padded with silence to whole frames.

    Attributes: `generator`, the name its weights are stored under; `shape`, the class of its `config`; `stochastic`,
    whether `render` uses the noise; `recipe`, what it wants otherwise than `CodecTraining` has it.
    """

    generator = ""
    shape: ClassVar[type]
    stochastic = False
    recipe: ClassVar[dict[str, float]] = {}

    def __init__(self, config: Any = None):
        super().__init__()
        self.config = config = config or self.shape()
        self.quantizer = ResidualQuantizer(config.n_levels, config.codebook_size, config.latent_dim)

    @property
    def device(self) -> torch.device:
        return self.quantizer.codebooks.device

    def n_parameters(self) -> int:
        """Return the number of weights, codebooks included."""
        return sum(value.numel() for value in self.state_dict().values())

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames that cover `n_samples` samples."""
        return -(-n_samples // self.config.hop)

    @abstractmethod
    def latents(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples] to latents [batch, latent_dim, n_frames]."""

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Run the decoder's network on latents [batch, latent_dim, n_frames]: everything before the noise."""

    def render(self, decoded: Tensor, noise: Tensor) -> Tensor:
        """Turn what `decode_latents` gave and white noise [batch, n_frames * hop] into clips of the noise's shape.

        Without a source of noise in the decoder its last layer gives the clips.
        """
        return decoded

    def likelihood_loss(self, decoded: Tensor, clips: Tensor) -> Tensor:
        """Return how unlikely clips are under what the decoder expects: 0 where it expects no range of sounds."""
        return decoded.new_zeros(())

    def synthesise(self, latents: Tensor) -> Tensor:
        """Map latents [batch, latent_dim, n_frames] to clips [batch, n_frames * hop], with the fixed noise."""
        return self.render(self.decode_latents(latents), self.fixed_noise(latents.shape[2]))

    def fixed_noise(self, n_frames: int) -> Tensor:
        """Return the white noise that decoding uses, float32 [1, n_frames * hop]: the same at every call and place.

        It depends on nothing but the position in time, so a change of codes changes the sound only there.
        """
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, n_frames * self.config.hop, generator=generator).to(self.device)

    def encode(self, clips: Tensor) -> Tensor:
        """Encode clips [batch, n_samples] of one length to codes int64 [batch, n_levels, n_frames]."""
        return self.quantizer.encode(self.latents(clips))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [batch, 1..n_levels, n_frames] to clips [batch, n_frames * hop], in [-1, 1]."""
        return self.sound(self.quantizer.decode(codes))

    def sound(self, latents: Tensor) -> Tensor:
        """Map latents [batch, latent_dim, n_frames] to clips [batch, n_frames * hop], in [-1, 1].

        Frames that come out below SILENCE_RMS are set to zero: recordings hold digital silence, which no network
        puts out exactly, and whose zero crossings a residue of noise would count in thousands.
        """
        return gate_silence(self.synthesise(latents).clamp(-1.0, 1.0), self.config.hop)


def gate_silence(clips: Tensor, hop: int) -> Tensor:
    """Set every frame of `hop` samples whose rms is below SILENCE_RMS to zero: clips [batch, n_frames * hop]."""
    frames = clips.unflatten(1, (-1, hop))
    audible = frames.square().mean(-1, keepdim=True).sqrt() >= SILENCE_RMS
    return (frames * audible).flatten(1)


def limit_peaks(clips: Tensor, radius: int) -> Tensor:
    """Turn clips [batch, n_samples] down around samples beyond CEILING, smoothly over 2 `radius` samples either side.

    What the gain that a sample needs lacks to 1, at its most over `radius` samples either side, is averaged over as
    many: so it is always enough, and 0 elsewhere. A clip without such samples stays as it is.
    """
    size = clips.abs()
    excess = ((size - CEILING).clamp(min=0) / size.clamp(min=CEILING))[:, None]  # what the gain lacks to 1
    most = nn.functional.max_pool1d(excess, 2 * radius + 1, stride=1, padding=radius)
    padded = nn.functional.pad(most, (radius, radius), mode="replicate")
    return clips * (1 - nn.functional.avg_pool1d(padded, 2 * radius + 1, stride=1)[:, 0])
