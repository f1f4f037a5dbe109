"""EnCodec at 24 kHz with Meta's released weights (Defossez et al. 2022, arXiv:2210.13438).

The model is causal, has no loudness normalisation and takes a clip of any length in one go. Zeros padded
after a clip still change some of its codes: those of its last frame, unless the clip ends with a full frame
(strided layers complete their last window by reflection), and any frame of a clip shorter than seven frames
(at the start, layers reflect up to six frames of what follows). Clips of different lengths are therefore
encoded apart.
"""

import io
import warnings
from pathlib import Path
from pickle import UnpicklingError

import pooch
import torch
from torch import Tensor, nn

from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file
from envsound.base.torchaudio_import import import_encodec
from envsound.codec.base import Codec

URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"
RELEASED_SHA256 = "d7cc33bcf1aad7f2dad9836f36431530744abeace3ca033005e3290ed4fa47bf"
BANDWIDTHS = [1.5, 3.0, 6.0, 12.0, 24.0]  # kbit/s the released weights were trained for; 24 is 32 levels


class EnCodec24kHz(Codec):
    """EnCodec 24 kHz behind the study's codec interface."""

    name = "encodec_24khz"
    sample_rate = 24_000  # Hz
    frame_rate = 75  # frames/s
    n_levels = 8  # 6 kbit/s; the released weights hold 32
    codebook_size = 1024

    def __init__(
        self, weights: str | Path = "", weights_sha256: str = RELEASED_SHA256, device: torch.device | str = "cpu"
    ):
        """Load the weights from the file `weights`, the torch hub cache, or a download into that cache.

        A file is unpickled only after its SHA-256 was found to be `weights_sha256`, by default that of Meta's
        release; another one is for a file `weights` of your own in the same format.
        Raises InputError when the file is missing, has another SHA-256 or holds other weights, or the download fails.
        """
        own = Path(weights).expanduser() if weights else None
        path, expected = (own, weights_sha256) if own else (released_weights(), RELEASED_SHA256)
        self.device = torch.device(device)
        self.model = load_model(path, expected).to(self.device)
        self.content_hash = sha256_bytes(f"{expected}:{self.n_levels}".encode())

    def _encode(self, clips: Tensor) -> Tensor:
        latents = self.model.encoder(clips[:, None])  # [batch, 128, n_frames]
        return self.model.quantizer.vq.encode(latents, n_q=self.n_levels).transpose(0, 1)  # from [n_levels, batch, ..]

    def _vectors(self, codes: Tensor) -> Tensor:
        return self.model.quantizer.decode(codes.transpose(0, 1))  # [batch, 128, n_frames]

    def _sound(self, vectors: Tensor) -> Tensor:
        return self.model.decoder(vectors)[:, 0].clamp(-1.0, 1.0)


def cached_weights() -> Path:
    """Return where Meta's released weights lie in the torch hub cache, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[-1]


def weights_here(weights: str | Path = "") -> Path | None:
    """Return the file of the released weights where this machine has it (None otherwise); downloads nothing.

    weights: a file; "" looks into the torch hub cache. Only a file with the release's SHA-256 counts.
    """
    path = Path(weights).expanduser() if weights else cached_weights()
    return path if path.is_file() and sha256_file(path) == RELEASED_SHA256 else None


def released_weights() -> Path:
    """Return the file with Meta's released weights: in the torch hub cache, or downloaded into it now.

    Raises InputError saying what to put where when it is not there and cannot be downloaded.
    """
    path = cached_weights()
    try:
        return Path(pooch.retrieve(URL, f"sha256:{RELEASED_SHA256}", path.name, path.parent, progressbar=True))
    except (OSError, ValueError) as error:  # what requests raises is an OSError; another SHA-256 is a ValueError
        what = "sent another file" if isinstance(error, ValueError) else f"cannot be reached ({type(error).__name__})"
        raise InputError(
            f"encodec_24khz: {URL} {what}; put the released weights at {path} or name their file in codec_weights"
        ) from None


def empty_model() -> nn.Module:
    """Return EnCodec 24 kHz with random weights, as `encodec.EncodecModel.encodec_model_24khz` makes it."""
    make = import_encodec().EncodecModel._get_model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # encodec needs the deprecated weight_norm
        return make(BANDWIDTHS, 24_000, channels=1, causal=True, model_norm="weight_norm")


def load_model(path: Path, sha256: str) -> nn.Module:
    """Return the model with the weights in `path`, a pickled state dict as Meta publishes it.

    Raises InputError when the file is missing, its SHA-256 is not `sha256`, or it holds something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"encodec_24khz weights {path}: cannot be read ({error.strerror})") from None
    if sha256_bytes(data) != sha256:
        found = sha256_bytes(data)
        raise InputError(f"encodec_24khz weights {path}: SHA-256 is {found}, expected {sha256}; not opened")
    model = empty_model()
    try:
        model.load_state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except (UnpicklingError, EOFError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"encodec_24khz weights {path}: not a state of EnCodec 24 kHz ({reason})") from None
    return model.eval().requires_grad_(False)
