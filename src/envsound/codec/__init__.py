"""Neural codecs behind one interface: `load_codec(name)` gives anything that `base.Codec` describes."""

from pathlib import Path

import torch

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.paths import shipped
from envsound.codec.base import Codec

SHIPPED = {"patches": Path("data") / "codec" / "patches.safetensors"}


def load_codec(
    name: str = "patches", weights: str = "", device: str | torch.device = "auto", weights_sha256: str = ""
) -> Codec:
    """Load a codec by name.

    name: "patches" (shipped in data/codec), "encodec_24khz" (Meta's released weights, from the file
    `weights`, the torch hub cache, or downloaded), or the path of a safetensors file that this study's codec training
    wrote.
    weights_sha256: what the file `weights` must hash to; "" means the released weights' own.
    Raises InputError when the name is none of these or the weights are missing or damaged.
    """
    device = choose_device(device) if isinstance(device, str) else device
    if name == "encodec_24khz":
        from envsound.codec.encodec_24khz import RELEASED_SHA256, EnCodec24kHz

        return EnCodec24kHz(weights, weights_sha256 or RELEASED_SHA256, device=device)
    from envsound.codec.stored import load_stored

    if name in SHIPPED:
        return load_stored(shipped(SHIPPED[name]), name, device)
    if Path(name).suffix == ".safetensors":
        return load_stored(Path(name).expanduser(), Path(name).stem, device)
    raise InputError(f"codec={name!r}: expected patches, encodec_24khz or the path of a .safetensors file")


__all__ = ["Codec", "load_codec"]
