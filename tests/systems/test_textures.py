"""Texture models: noise is shaped exactly and cheaply, latents mean what they say, and a kill changes nothing."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.notebooks import run_cells
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_wav
from envsound.base.paths import find_root
from envsound.codec.training.losses import magnitude
from envsound.data.audio import read_clip
from envsound.run.contract import TABLES, read_table
from envsound.run.presets import load_preset
from envsound.systems.base import Request, load_recipe
from envsound.systems.kept import Sounds
from envsound.systems.sampling import load_trained
from envsound.systems.textures.models import (
    HOP,
    LatentChain,
    Mfcc,
    NoiseTexture,
    TextureOptions,
    fit_chain,
    kl_nats,
    make_model,
)
from envsound.systems.textures.synths import NoiseBands, band_weights, filter_noise
from envsound.systems.textures.training import TextureTrainer, TextureTraining, linear_mstft

RATE, CPU = 24_000, torch.device("cpu")
STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips", "04_metrics", "05_ks_tests", "06_figures")
SMALL = {"ddsp": TextureOptions("ddsp", 4, 16, atom_seconds=0.2),
         "noiseband": TextureOptions("noiseband", 4, 16, n_bands=64, n_blocks=64, atom_seconds=0.2),
         "encodec": TextureOptions("encodec", 4, n_filters=2, judge_channels=2, atom_seconds=0.2)}  # fmt: skip


class Allocated(TorchDispatchMode):
    """Adds up the bytes of every storage that operations make, and keeps the largest."""

    def __init__(self):
        super().__init__()
        self.total, self.largest = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        flat = [one for one in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        known = {one.untyped_storage().data_ptr() for one in flat}
        for one in torch.utils._pytree.tree_leaves(made):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in known:
                self.total += one.untyped_storage().nbytes()
                self.largest = max(self.largest, one.untyped_storage().nbytes())
        return made


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sounds(n: int = 4, seconds: float = 0.5) -> Sounds:
    rng = np.random.default_rng(0)
    clips = [(rng.standard_normal(round(seconds * RATE)) * 0.05 * (1 + place)).astype(np.float32) for place in range(n)]
    return Sounds(clips, [str(place) for place in range(n)], ["rain", "sea"] * (n // 2), RATE)


def trainer(kind: str, folder, n_steps: int = 6, **changes) -> TextureTrainer:
    training = TextureTraining(100, batch_size=2, lr=1e-3, max_steps=n_steps, watch_every=1, grad_clip=1, seed=3)
    options = TextureOptions(**{**vars(SMALL[kind]), **changes})
    return TextureTrainer(options, training, sounds(), sounds(2), folder, CPU)


def level_db(clip: torch.Tensor) -> float:
    return float(10 * torch.log10(clip.square().mean()))


def test_two_batched_products_are_the_interpolation_at_a_fifth_of_its_memory():
    bands = NoiseBands(128, RATE, HOP, n_blocks=16)
    amplitudes = torch.rand(8, 128, 40, generator=seeded())
    with Allocated() as ours:
        made = bands(amplitudes, start=5)
    with Allocated() as theirs:
        every = F.interpolate(amplitudes, scale_factor=HOP, mode="linear")
    order = (5 + torch.arange(41)) % 16
    noise = bands.blocks[order].permute(1, 0, 2).flatten(1)[:, HOP // 2 : -(HOP // 2)]
    assert made.shape == (8, 40 * HOP) and (made - (every * noise).sum(1)).abs().max() < 1e-5
    assert ours.total < theirs.largest / 5


def test_the_bands_together_are_white_noise_of_unit_variance():
    frequencies = np.linspace(20, 12_000, 5_000)
    assert np.abs(band_weights(2048, RATE, frequencies).sum(0) - 1).max() < 0.1
    bands = NoiseBands(256, RATE, HOP, n_blocks=64)
    flat = bands(torch.ones(1, 256, 200))
    assert abs(level_db(flat)) < 0.2
    spectrum = magnitude(flat, 512)[0, 2:].mean(1)
    assert spectrum.max() / spectrum.min() < 2.5


def test_equal_magnitudes_are_one_filter_and_a_clip_is_as_loud_at_its_ends():
    low = torch.zeros(1, 400, 257)
    low[..., :64] = 0.5  # a quarter of the band at half the level: a sixteenth of the power
    made = filter_noise(low, HOP, seeded())
    assert made.shape == (1, 400 * HOP) and abs(level_db(made) - 10 * math.log10(1 / 16)) < 0.3
    spectrum = magnitude(made, 512)[0].square().mean(1)
    assert spectrum[80:].max() < 1e-3 * spectrum[8:56].mean()
    many = filter_noise(torch.ones(64, 20, 257), HOP, seeded())
    assert abs(level_db(many[:, :64]) - level_db(many[:, 1200:1264])) < 0.5


@pytest.mark.parametrize("kind", ["ddsp", "noiseband"])
def test_a_constant_latent_is_a_steady_sound_and_another_latent_another_one(kind):
    model = make_model(SMALL[kind], RATE, seed=1).eval()
    with torch.inference_mode():
        steady, other = (model.decode(torch.full((1, 4, 938), value), seeded(2))[0] for value in (2.0, -2.0))
    seconds = steady[: 5 * RATE].unflatten(0, (5, -1))
    levels = [level_db(one) for one in seconds]
    assert max(levels) - min(levels) < 0.5 and min(levels) > -60
    centroids = []
    for clip in (steady, other):
        power = torch.fft.rfft(clip).abs().square()
        centroids.append(float((power * torch.fft.rfftfreq(len(clip), 1 / RATE)).sum() / power.sum()))
    assert abs(centroids[0] / centroids[1] - 1) > 0.01


def test_cepstra_are_librosas_and_reach_every_frame():
    librosa = pytest.importorskip("librosa")
    clip = sounds(2).clips[0][: 40 * HOP]
    bank = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=128, fmin=20) * RATE / 512
    frames = librosa.util.frame(np.pad(clip, 192), frame_length=512, hop_length=HOP)
    window = np.hanning(513)[:-1]
    power = np.abs(np.fft.rfft(frames.T * window, axis=1)) ** 2 / np.square(window).sum()
    expected = librosa.feature.mfcc(S=np.log(bank @ power.T + 1e-5), n_mfcc=30)
    found = Mfcc(RATE)(torch.from_numpy(clip)[None])[0].numpy()
    assert found.shape == (40, 30) and np.abs(found - expected.T).max() < 1e-3


def test_nats_are_those_of_a_normal_distribution():
    mean, spread = torch.full((2, 3, 5), 0.5), torch.full((2, 3, 5), 0.25)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, spread), normal(0.0, 1.0)).sum(1).mean()
    assert torch.isclose(kl_nats(mean, 2 * spread.log()), expected)


def test_the_published_loss_prefers_noise_that_is_too_quiet():
    one, other = torch.randn(2, 1, RATE, generator=seeded())
    silence = float(linear_mstft(one, torch.zeros_like(one), RATE))
    gains = {gain: float(linear_mstft(one, gain * other, RATE)) / silence for gain in (0.6, 0.8, 1.0)}
    assert gains[0.8] < min(gains[0.6], gains[1.0])
    spectra = magnitude(one, 512), magnitude(other, 512)
    assert abs(float((spectra[0] - spectra[1]).abs().mean() / spectra[0].mean()) - 0.586) < 0.02


@pytest.mark.parametrize("kind", SMALL)
def test_two_kills_change_no_weight_and_no_global_state_moves(kind, tmp_path):
    before = torch.get_rng_state()
    whole = trainer(kind, tmp_path / "whole")
    history = whole.fit()
    assert torch.equal(torch.get_rng_state(), before)
    for stop in (2, 5, None):
        part = trainer(kind, tmp_path / "parts")
        while stop and part.step < stop:
            part.sums.append(part._train_step())
            part.step += 1
        part._save() if stop else part.fit()
    assert part.step == 6 and len(part.history) == 6  # the kills fell between epochs; the last is told whole
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, part.model.state_dict()[name]), name
    assert np.isfinite(history["loss"]).all() and set(history["level"]) == {"distance", "kl", "all"}
    assert trainer(kind, tmp_path / "whole", kl_weight=0.1).step == 0  # other options start anew


def test_steps_teach(tmp_path):
    history = trainer("ddsp", tmp_path, 60).fit()
    distances = history[(history["level"] == "distance") & (history["split"] == "train")]["loss"]
    assert distances.iloc[-1] < 0.7 * distances.iloc[0]


def test_a_chain_has_the_means_spreads_and_memory_of_what_it_was_fitted_to():
    mixing = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    step = mixing @ np.diag([0.95, 0.7, 0.2]) @ mixing.T
    still, moves = np.zeros((3, 3)), (step, np.eye(3), np.diag([0.3, 0.5, 0.7]))
    true = LatentChain(np.array([1.0, -2.0, 0.5]), still, *moves)
    found = fit_chain([true.draw(20_000, np.random.default_rng(seed)) for seed in range(3)])
    assert np.abs(found.mean - true.mean).max() < 0.15 and np.abs(found.step - step).max() < 0.02
    assert np.abs(found.noise @ found.noise.T - np.diag([0.09, 0.25, 0.49])).max() < 0.02
    drawn = found.draw(50_000, np.random.default_rng(9)).astype(float)
    assert np.abs(np.cov(drawn) - found.start @ found.start.T).max() < 0.4
    fixed = fit_chain([np.ones((2, 50))])  # what never moves is drawn as it is
    assert np.abs(fixed.draw(20, np.random.default_rng(0)) - 1).max() < 0.1


def test_what_differs_between_clips_is_drawn_once_for_each_clip():
    """Clips that lie far apart and hardly move: so do those that are drawn, and no path goes from one to another."""
    rng = np.random.default_rng(0)
    middles = rng.normal(0, [[3.0], [1.0]], (2, 200)).T
    clips = [middle[:, None] + 0.1 * rng.standard_normal((2, 400)) for middle in middles]
    chain = fit_chain(clips)
    drawn = [chain.draw(400, np.random.default_rng(seed)) for seed in range(300)]
    found = np.array([clip.mean(1) for clip in drawn])
    assert np.abs(found.std(0) / [3.0, 1.0] - 1).max() < 0.15
    assert np.abs(np.mean([clip.std(1) for clip in drawn], 0) / 0.1 - 1).max() < 0.1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of preset tiny-ddsp, all six notebooks."""
    folder = tmp_path_factory.mktemp("run")
    for step in STEPS:
        given = {"run_dir": str(folder), "preset": "tiny-ddsp"} | ({"replace": True} if step.startswith("03") else {})
        run_cells(find_root() / "notebooks" / f"{step}.ipynb", given)
    return folder


def loaded(run, preset: str = "tiny-ddsp", **options):
    settings = load_preset(preset) | {"fold": 1, "seed": 0}
    return load_recipe("textures").load(settings | {"options": settings["options"] | options}, run, CPU)


def test_a_texture_goes_through_the_whole_study(run):
    assert {name: read_table(run, name).empty for name in TABLES} == dict.fromkeys(TABLES, False)
    samples = read_table(run, "samples")
    assert set(samples["system"]) == {"ddsp"} and set(samples["prior"]) == {"chain"}


@pytest.mark.parametrize("preset", ["tiny-noiseband", "tiny-encodec16", "tiny-encodec128"])
def test_every_tiny_preset_trains_and_samples(preset, run, tmp_path):
    for name in ("codes.csv", "sounds.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    settings, recipe = load_preset(preset) | {"fold": 1, "seed": 0}, load_recipe("textures")
    trained = recipe.train(settings, tmp_path, CPU)
    assert trained.facts["steps"] == 4 and trained.facts["kl_nats_an_atom"] > 0
    clip = next(recipe.load(settings, tmp_path, CPU).generate([Request("", "rain", 1.3, 0)]))
    assert len(clip) == round(1.3 * RATE) and np.isfinite(clip).all() and np.abs(clip).max() <= 1


def test_a_clip_depends_on_its_seed_alone_under_every_prior(run):
    asked = [Request("", "rain", 1.0, 5), Request("", "sea_waves", 3.7, 6)]
    made = {}
    for prior in ("chain", "normal", "trajectory"):
        system = loaded(run, prior=prior)
        made[prior] = list(system.generate(asked))
        assert [len(clip) for clip in made[prior]] == [RATE, round(3.7 * RATE)]
        assert np.array_equal(made[prior][1], next(system.generate(asked[1:])))
    assert len({clips[0].tobytes() for clips in made.values()}) == 3
    assert len({loaded(run, prior=prior).content_hash for prior in made}) == 3


def test_a_trajectory_is_a_training_clips_and_a_reconstruction_is_as_long_as_its_clip(run):
    system = loaded(run, prior="trajectory")
    paths = [system.encode(clip) for clip in system.sounds.of_class("rain")]
    drawn = system.latents("rain", paths[0].shape[1], seed=4)
    assert sum(np.array_equal(drawn, path) for path in paths) == 1
    clip = read_clip(read_table(run, "recordings")["path"].iloc[0], RATE, 0.77)
    assert system.reconstruct(clip).shape == clip.shape


def test_ones_own_recordings_make_a_model(tmp_path):
    named = [(name, fold) for name in ("fan", "rain") for fold in (1, 2)]
    rows = [{"filename": f"{name}{fold}.wav", "category": name, "fold": fold} for name, fold in named]
    for place, row in enumerate(rows):
        write_wav(tmp_path / "mine" / row["filename"], sounds().clips[place], 16_000)
    write_csv(tmp_path / "mine" / "recordings.csv", pd.DataFrame(rows))
    small = load_preset("tiny-noiseband")["options"] | {"atom_seconds": 0.3}
    settings = {"data_dir": str(tmp_path / "mine"), "options": small, "batch_size": 2, "max_steps": 2, "n_heard": 0}
    settings |= {"n_samples": 2, "sample_seconds": 0.5}
    for step in STEPS[:3]:
        given = {"run_dir": str(tmp_path / "run"), "preset": "own-textures", "settings": settings}
        given |= {"replace": True} if step.startswith("03") else {}
        run_cells(find_root() / "notebooks" / f"{step}.ipynb", given)
    assert read_table(tmp_path / "run", "samples")["category"].tolist() == ["fan", "rain"]
    again = load_trained(str(tmp_path / "run"), "cpu")
    assert again.categories == ["fan", "rain"] and again.name == "noiseband"


def test_a_new_vae_encodec_tells_clips_apart():
    clips = torch.from_numpy(np.stack([clip[:RATE] for clip in sounds().clips]))
    model, spreads = make_model(SMALL["encodec"], RATE), []
    with torch.no_grad():
        spreads.append(model.encode(clips)[0].mean(-1).std(0).mean())
        model.measure(clips)
        mean, _ = model.encode(clips)
        spreads.append(mean.mean(-1).std(0).mean())
        last = model.decode(mean, torch.Generator())
    assert spreads[1] > 5 * spreads[0] and float(mean.std()) == pytest.approx(1, abs=0.1)
    assert float(last.mean()) == pytest.approx(0, abs=0.05) and float(last.std()) == pytest.approx(1, abs=0.1)


def test_discriminators_join_when_they_are_told_to(tmp_path):
    weights = {}
    for share in (0.0, 0.5, 1.0):
        one = trainer("encodec", tmp_path / str(share), judged_from=share)
        before = [weight.detach().clone() for weight in one.modules[1].parameters()]
        one.fit()
        learnt = any(not torch.equal(*pair) for pair in zip(before, one.modules[1].parameters(), strict=True))
        assert learnt == (share < 1) and ("adversarial" in one.balancer.norms) == learnt
        weights[share] = torch.cat([weight.flatten() for weight in one.model.parameters()])
    assert not torch.equal(weights[0.0], weights[1.0]) and not torch.equal(weights[0.5], weights[1.0])
    with pytest.raises(InputError, match="judged_from 0 to 1"):
        TextureOptions("encodec", judged_from=2.0)


def test_what_cannot_be_is_told(run, tmp_path):
    with pytest.raises(InputError, match="synth='fm': expected one of ddsp, noiseband, encodec"):
        TextureOptions("fm")
    with pytest.raises(InputError, match="a loop of 4 samples a band"):
        TextureOptions(n_bands=2048, n_blocks=32)
    with pytest.raises(InputError, match=r"clip 0: 0\.50 s; expected 1\.00 s or more \(atom_seconds\)"):
        trainer("ddsp", tmp_path, atom_seconds=1.0)
    with pytest.raises(InputError, match=r"texture\.safetensors: made with .*width=16.*; expected .*width=32"):
        loaded(run, width=32)
    with pytest.raises(InputError, match="augment_copies=2: expected 0"):
        load_recipe("textures").prepare(None, {"codec": "patches", "codec_weights": "", "device": "cpu",
                                               "codec_weights_sha256": "", "augment_copies": 2}, tmp_path)  # fmt: skip
    assert isinstance(make_model(SMALL["ddsp"], RATE), NoiseTexture)
