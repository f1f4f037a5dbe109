"""A texture model behind the interface of `systems.base`: latents by class from a prior, and sound from the latents."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from torch import nn

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.base.tensors import read_tensors, write_tensors
from envsound.codec import Codec
from envsound.data.recordings import Recordings
from envsound.run.identity import digest, module_hash
from envsound.systems.base import Request, Trained, preset_codec, read_options
from envsound.systems.kept import Sounds, keep_sounds, load_sounds, sounds_named
from envsound.systems.textures.models import LatentChain, TextureOptions, fit_chain, make_model
from envsound.systems.textures.training import TextureTrainer, TextureTraining

KIND, FILE = "texture", "checkpoints/texture.safetensors"
CHAIN = tuple(field.name for field in fields(LatentChain))
OF_SAMPLING = ("prior",)  # options that a trained model may be loaded with another value of


@dataclass(frozen=True)
class Texture:
    """A trained model with a chain of latents for each class; `sounds`: what it learnt, for the prior `trajectory`."""

    model: nn.Module
    chains: Mapping[str, LatentChain]
    options: TextureOptions
    sample_rate: int
    content_hash: str
    sounds: Sounds | None = None

    conditions = frozenset({"class"})

    @property
    def name(self) -> str:
        return self.options.synth

    @property
    def categories(self) -> list[str]:
        return sorted(self.chains)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Yield a clip for each request, float32 [n_samples], each by itself."""
        for request in requests:
            n_samples = round(request.seconds * self.sample_rate)
            latents = self.latents(request.category, -(-n_samples // self.model.hop), request.seed)
            yield self.sound(latents, request.seed)[:n_samples]

    def latents(self, category: str, n_frames: int, seed: int) -> np.ndarray:
        """Return new latents of a class, float32 [n_latents, n_frames], by the prior of the options."""
        rng, prior = np.random.default_rng([seed, 0]), self.options.prior
        if prior == "normal":
            return rng.standard_normal((self.options.n_latents, n_frames), dtype=np.float32)
        if prior == "chain":
            return self.chains[category].draw(n_frames, rng)
        known = self.sounds.of_class(category)
        path = self.encode(known[int(rng.integers(len(known)))])
        there_and_back = np.concatenate([path, path[:, ::-1]], 1)  # longer than the recording: turned round at its ends
        return np.take(there_and_back, np.arange(n_frames), axis=1, mode="wrap")

    @torch.inference_mode()
    def encode(self, clip: np.ndarray) -> np.ndarray:
        """Return the mean latents of a clip, float32 [n_latents, n_frames]."""
        return self.model.encode(torch.from_numpy(clip)[None].to(self._device))[0][0].cpu().numpy()

    @torch.inference_mode()
    def sound(self, latents: np.ndarray, seed: int = 0) -> np.ndarray:
        """Return the clip of latents [n_latents, n_frames], float32 [n_frames * hop]; the seed decides its noise."""
        draws = torch.Generator().manual_seed(seed)
        made = self.model.decode(torch.from_numpy(np.ascontiguousarray(latents))[None].to(self._device), draws)
        return made[0].clamp(-1, 1).cpu().numpy()

    def describe(self, request: Request) -> dict[str, Any]:
        """Return seconds, which model it is, and where its latents came from."""
        return {"seconds": request.seconds, "system": self.name, "prior": self.options.prior}

    def reconstruct(self, clip: np.ndarray) -> np.ndarray:
        """Return a clip, float32 [n_samples], encoded and decoded: the ceiling of any prior."""
        return self.sound(self.encode(clip))[: len(clip)]

    def controls(self, run: Path) -> Mapping[str, Callable[[Any, np.random.Generator], np.ndarray]]:
        """Return nothing: what needs no model is the same as of any system of sound."""
        return {}

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


class TextureRecipe:
    """How a texture model is made: an autoencoder learns the sounds of all classes; each class's latents, a chain."""

    about = """A variational autoencoder writes every atom of sound as a few numbers. With `synth: ddsp` a recurrent
network reads mel-frequency cepstral coefficients and another sets 257 magnitudes of a filter of white noise, 187.5
times a second at 24 kHz; with `noiseband` it sets the amplitudes of a bank of fixed narrow bands of noise; with
`encodec` encoder and decoder are EnCodec's, without its codes, 75 times a second.

The loss is a distance of spectra and, times a weight that rises from 0, the divergence of the latents from a standard
normal distribution: `kl` in nats an atom says how much of a sound they hold. For what is noise the distance is the
study's energy distance, which is least where the noise of the model is distributed like that of the recording; `loss:
linear` is the published one, of linear magnitudes, which is least for noise that is 2 dB too quiet.

The published study has no sampling. Here a clip of a class has a middle, drawn as those of its training clips are
spread, and a vector autoregression of first order around it, fitted in closed form to their latents (`prior: chain`);
beside it stand independent draws from the standard normal
distribution (`normal`), and the path of a training clip with new noise (`trajectory`), which is a copy and must be
found out as one."""

    def codec(self, settings: Mapping[str, Any]) -> Codec:
        """Return the codec that textures are measured by."""
        return preset_codec(settings)

    def prepare(self, recordings: Recordings, settings: Mapping[str, Any], run: Path) -> pd.DataFrame:
        """Return codes.csv; the clips themselves are kept in the run."""
        return keep_sounds(recordings, settings, self.codec(settings), run)

    def train(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Trained:
        """Train on the run's sounds and fit the chains. Raises InputError when a recording is too short."""
        options, (learnt, watched) = read_options(TextureOptions, settings), load_sounds(settings, run)
        plan = TextureTraining(**{field.name: settings[field.name] for field in fields(TextureTraining)})
        trainer = TextureTrainer(options, plan, learnt, watched, run, device)
        history = trainer.fit()
        trained = Texture(trainer.model.eval(), {}, options, learnt.sample_rate, "")
        chains = {
            category: fit_chain([trained.encode(clip) for clip in learnt.of_class(category)])
            for category in sorted(set(learnt.categories))
        }
        save_texture(Path(run) / FILE, replace(trained, chains=chains, sounds=learnt))
        return Trained(history, trainer.facts())

    def load(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Texture:
        """Return a run's model. Raises InputError when its file is missing, or was made with other options."""
        path, asked = Path(settings["checkpoint"] or Path(run) / FILE), read_options(TextureOptions, settings)
        return load_texture(path, asked, run, device)


def save_texture(path: Path, texture: Texture) -> None:
    """Write a model and its chains as one safetensors file, atomically; of its sounds only the names."""
    tensors = {f"model/{name}": value for name, value in texture.model.state_dict().items()}
    for category, chain in texture.chains.items():
        tensors |= {f"{part}/{category}": torch.from_numpy(getattr(chain, part)) for part in CHAIN}
    header = {"options": asdict(texture.options), "sample_rate": texture.sample_rate, "clips": texture.sounds.names}
    write_tensors(path, tensors, KIND, header | {"categories": texture.categories})


def load_texture(path: Path, asked: TextureOptions, run: Path, device: torch.device) -> Texture:
    """Return what `save_texture` wrote, on a device, to be sampled as `asked`. Raises InputError as `load` does."""
    try:
        tensors, header = read_tensors(path, KIND)
        made_with = TextureOptions(**header["options"])
        differs = [name for name, value in asdict(asked).items() if value != getattr(made_with, name)]
        if set(differs) - set(OF_SAMPLING):
            raise InputError(f"checkpoint {path}: made with {made_with}; expected {asked}")
        model = make_model(made_with, header["sample_rate"])
        weights = {name.removeprefix("model/"): one for name, one in tensors.items() if name.startswith("model/")}
        model.load_state_dict(weights)
        parts = {name: [tensors[f"{part}/{name}"].numpy() for part in CHAIN] for name in header["categories"]}
        chains = {name: LatentChain(*found) for name, found in parts.items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"checkpoint {path}: cannot be read ({error}); expected a texture model") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"checkpoint {path}: not a texture model of this study ({error})") from None
    sounds = sounds_named(header["clips"], run) if asked.prior == "trajectory" else None
    mark = digest([sha256_file(path), str(asdict(asked)), sounds.digest() if sounds else "", _code()])
    return Texture(model.to(device).eval(), chains, asked, header["sample_rate"], mark, sounds)


@cache
def _code() -> str:
    return module_hash(__name__)
