"""Patch tokens: mel weights, the layout of patches, code vectors, and the codec with its decoders and its file."""

import json
import math
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
from fakes.codecs import RATE, noise, tone
from safetensors.torch import load_file, save_file

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.codec import load_codec
from envsound.codec.decoder import DecoderConfig, MelDecoder, MelEnvelope, NoiseDecoder
from envsound.codec.mel import mel_bank
from envsound.codec.patches import (
    LOG_FLOOR,
    LogMel,
    PatchCodec,
    PatchConfig,
    PatchQuantizer,
    column_loudness,
    column_noise,
    from_patches,
    to_patches,
)
from envsound.codec.spectra import expected_power
from envsound.codec.stored import patch_codec, save_patches
from envsound.codec.training.calibration import calibrate_decoder
from envsound.codec.training.code_vectors import fit_patches

FULL = PatchConfig()
TINY = replace(FULL, codebook_size=16)
SMALL = DecoderConfig(dim=8, hidden=8, n_blocks=1)
SECOND = RATE


def sounds() -> torch.Tensor:
    """Two seconds each of noises and tones at four levels, float32 [8, n_samples]."""
    clips = [noise(2 * SECOND, seed, 0.2 / 4**seed) for seed in range(4)]
    clips += [tone(2 * SECOND, 200.0 * 3**place, 0.3 / 3**place) for place in range(4)]
    return torch.from_numpy(np.stack(clips))


@pytest.fixture(scope="module")
def quantizer() -> PatchQuantizer:
    return fit_patches([sounds()], TINY)


@pytest.fixture(scope="module")
def two_stages() -> PatchQuantizer:
    return fit_patches([sounds()], TINY, n_stages=2)


@pytest.fixture
def codec(quantizer) -> PatchCodec:
    return patch_codec(quantizer)


# Mel bands


@pytest.mark.parametrize(
    ("n_fft", "n_mels", "low_hz", "high_hz"),
    [(1280, 80, 30.0, 11_400.0), (1024, 80, 0.0, None), (256, 20, 0.0, None), (2048, 128, 0.0, None)],
)
def test_the_bank_is_librosa_s_bit_by_bit(n_fft, n_mels, low_hz, high_hz):
    wanted = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=n_mels, fmin=low_hz, fmax=high_hz)
    assert np.array_equal(mel_bank(RATE, n_fft, n_mels, low_hz, high_hz), wanted)


def test_every_band_is_a_weighted_mean_between_its_limits():
    weights, hz = FULL.mel_weights(), torch.fft.rfftfreq(FULL.n_fft, 1 / RATE)[: FULL.n_bins]
    assert weights.sum(1).numpy() == pytest.approx(np.ones(FULL.n_mels), abs=1e-6)
    assert not weights[:, hz <= FULL.low_hz].any() and (weights > 0).any(1).all()
    assert hz[-1] <= FULL.max_hz < hz[-1] + RATE / FULL.n_fft


def test_white_noise_has_its_variance_in_every_band():
    log_mel = LogMel(FULL)(torch.from_numpy(noise(20 * SECOND, rms=0.1))[None])[0, 4:-4]
    assert log_mel.exp().mean(0).numpy() == pytest.approx(np.full(80, 0.01), rel=0.1)


def test_the_envelope_gives_noise_the_power_of_its_bands():
    envelope = MelEnvelope(FULL)
    flat = envelope(torch.full((1, 1, 80), math.log(0.01)))[0, 0]
    power = torch.exp(2 * flat) / torch.hann_window(FULL.n_fft).square().sum()
    assert power[3:-2].numpy() == pytest.approx(np.full(len(power) - 5, 0.01), rel=1e-3)
    assert power[:2].numpy() == pytest.approx([1e-8, 1e-8], rel=1e-3)  # below the lowest band


# Patches


def test_a_patch_is_four_frames_of_twenty_bands_and_back():
    log_mel = torch.randn(2, 12, 80)
    patches = to_patches(log_mel, FULL)
    assert patches.shape == (2, 4, 3, 80)
    assert torch.equal(patches[1, 2, 1], log_mel[1, 4:8, 40:60].flatten())
    assert torch.equal(from_patches(patches, FULL), log_mel)


def test_code_vectors_are_the_same_every_time_and_from_quiet_to_loud(quantizer):
    again = fit_patches([sounds()], TINY)
    assert torch.equal(again.vectors, quantizer.vectors)
    assert not torch.equal(fit_patches([sounds()], TINY, seed=1).vectors, quantizer.vectors)
    assert (quantizer.vectors[:, 0] == torch.tensor(LOG_FLOOR).half().float()).all()
    assert (quantizer.vectors.mean(2).diff(dim=1) >= 0).all()
    assert torch.equal(quantizer.vectors.half().float(), quantizer.vectors)
    for batches in ([], [torch.zeros(1, SECOND)]):
        with pytest.raises(InputError, match="band 0: 0 patches that hold sound; expected 15 or more"):
            fit_patches(batches, TINY)


def test_codes_are_the_nearest_vectors(quantizer):
    log_mel = quantizer.columns(sounds()[:, :5000])
    codes, patches = quantizer.encode(log_mel), to_patches(log_mel, TINY)
    distance = (patches[:, :, :, None] - quantizer.vectors[None, :, None]).square().sum(-1)
    assert codes.shape == (8, 4, 4) and torch.equal(codes, distance.argmin(-1))
    decoded = to_patches(quantizer.decode(codes), TINY)
    assert torch.equal(decoded[3, 1, 2], quantizer.vectors[1, codes[3, 1, 2]])


@torch.no_grad()
def test_a_second_stage_codes_what_the_first_leaves_and_takes_no_patch_farther_away(quantizer, two_stages):
    log_mel = two_stages.columns(sounds())
    codes = two_stages.encode(log_mel)
    assert codes.shape == (8, 8, 38) and torch.equal(codes[:, :4], quantizer.encode(log_mel))
    assert torch.equal(two_stages.decode(codes[:, :4]), quantizer.decode(codes[:, :4]))
    left = [to_patches(log_mel - two_stages.decode(codes[:, :n]), TINY).square().sum(3) for n in (4, 8)]
    assert (left[1] <= left[0] + 1e-3).all() and left[1].mean() < 0.7 * left[0].mean()
    only_low = two_stages.decode(codes[:, :5])
    assert torch.equal(only_low[..., :20], two_stages.decode(codes)[..., :20])
    assert torch.equal(only_low[..., 20:], quantizer.decode(codes[:, :4])[..., 20:])


def test_how_loud_a_column_is_the_first_stage_says_alone(quantizer, two_stages):
    codes = two_stages.encode(two_stages.columns(sounds()))
    loudness = column_loudness(codes, two_stages.vectors, TINY.n_levels)
    means = to_patches(quantizer.decode(codes[:, :4]), TINY).double().mean(3)  # [batch, band, column]
    assert loudness == pytest.approx(means.exp().sum(1).log().numpy(), abs=1e-5)


def test_silence_stays_silent_in_two_stages(two_stages):
    codec = patch_codec(two_stages)
    codes = codec.encode(torch.zeros(1, 3000))
    assert (codec.n_levels, codes.shape) == (8, (1, 8, 3)) and (codes == 0).all() and (codec.decode(codes) == 0).all()


# Decoders


def mel_decoder(config: DecoderConfig = SMALL) -> MelDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MelDecoder(TINY, config).eval()


@torch.no_grad()
def test_a_decoder_is_nearly_shaped_noise_before_it_has_learnt():
    log_mel, white = LogMel(FULL)(sounds()[:1]), torch.from_numpy(noise(2 * SECOND, seed=9, rms=1.0))[None]
    model = mel_decoder()
    for value in model.network.leave.parameters():
        value.zero_()
    decoded = model(log_mel)
    assert decoded.shape == (1, 150, 3 * FULL.n_bins) and expected_power(decoded).shape == (1, 150, FULL.n_bins)
    heard, plain = model.synthesise(log_mel, white), NoiseDecoder(FULL).synthesise(log_mel, white)
    assert float((heard - plain).square().mean() / plain.square().mean()) < 0.05
    assert float(plain.std()) == pytest.approx(0.2, rel=0.1)


@torch.no_grad()
def test_a_decoder_is_brought_to_the_level_of_its_clips():
    clips, own = [noise(SECOND), noise(SECOND, 1)], PatchConfig(codebook_size=8)
    quantizer = fit_patches([torch.from_numpy(np.stack(clips))], own)
    model = mel_decoder()
    for part in model.network.leave.bias.chunk(3)[::2]:
        part -= 0.7
    bias = calibrate_decoder(quantizer, model, clips)
    codec = patch_codec(quantizer, model)
    heard = codec.decode(codec.encode(torch.from_numpy(clips[0])[None]))[0, 2000:-2000]
    assert bias.shape == (FULL.n_bins,) and bias.mean() > 0.2
    assert float(heard.std()) == pytest.approx(0.1, rel=0.1)


# The codec


def test_the_study_s_interface(codec):
    assert (codec.name, codec.sample_rate, codec.frame_rate) == ("patches", RATE, 18.75)
    assert (codec.n_levels, codec.codebook_size) == (4, 16)
    assert [codec.n_frames(n) for n in (1, 1280, 1281, 5 * SECOND)] == [1, 1, 2, 94]
    assert len(codec.content_hash) == 64
    assert not any(value.requires_grad for value in patch_codec(codec.quantizer, mel_decoder()).model.parameters())


def test_there_and_back(codec):
    clips = sounds()
    codes = codec.encode(clips)
    heard = codec.decode(codes)
    assert codes.shape == (8, 4, 38) and codes.dtype == torch.int64
    assert heard.shape == (8, 38 * 1280) and heard.abs().max() <= 1
    ratio = heard[:4, 5000:40_000].square().mean(1) / clips[:4, 5000:40_000].square().mean(1)  # of the noises
    assert (10 * ratio.log10()).abs().max() < 1.5


def test_codes_do_not_depend_on_the_padding_which_is_silence(codec):
    short = sounds()[:1, :100]
    assert torch.equal(codec.encode(short), codec.encode(torch.nn.functional.pad(short, (0, 1180))))
    lengths = [5 * 1280, 700, 1281]
    codes = codec.encode(sounds()[:3, : 6 * 1280], torch.tensor(lengths))
    for clip, length, own in zip(sounds(), lengths, codes, strict=False):
        n_frames = codec.n_frames(length)
        assert torch.equal(own[:, :n_frames], codec.encode(clip[None, :length])[0])
        assert (own[:, n_frames:] == codec.codebook_size).all()


def test_silence_lies_at_the_floor_is_code_0_and_comes_back_silent(codec):
    assert torch.equal(LogMel(FULL)(torch.zeros(1, 999)), torch.full((1, 4, 80), math.log(1e-8)))
    codes = codec.encode(torch.zeros(1, 3000))
    assert (codes == 0).all() and (codec.decode(codes) == 0).all()


def test_missing_levels_are_silent_bands(codec):
    codes = codec.encode(sounds()[:1])
    assert torch.equal(codec.dequantise(codes[:, :2])[:, :40], codec.dequantise(codes)[:, :40])
    heard = codec.decode(codes[:, :2])
    power = torch.fft.rfft(heard)[0].abs().square()
    hz = torch.fft.rfftfreq(heard.shape[1], 1 / RATE)
    assert power[hz > 3500].sum() < 1e-3 * power.sum()


def test_noise_depends_on_codes_and_place_and_on_nothing_else(codec):
    codes = codec.encode(sounds()[:2])
    together, alone = codec.decode(codes), codec.decode(codes[1:])
    assert torch.equal(together[1:], alone)
    assert torch.equal(column_noise(codes.to(torch.int16), 1280), column_noise(codes, 1280))
    changed = codes.clone()
    changed[0, :, 20] = (changed[0, :, 20] + 1) % 16
    same = column_noise(changed, 1280)[0] == column_noise(codes, 1280)[0]
    assert same.unflatten(0, (-1, 1280)).all(1).logical_not().nonzero().flatten().tolist() == [20]
    white = column_noise(torch.zeros(1, 4, 40, dtype=torch.long), 1280)[0]
    assert float(white.std()) == pytest.approx(1, abs=0.02)
    assert abs(float((white[:1280] * white[1280:2560]).mean())) < 0.15


@pytest.mark.parametrize(
    ("codes", "refusal"),
    [
        (torch.full((1, 4, 3), 16), "16 is the mask token"),
        (torch.full((1, 4, 3), -1), "values from -1"),
        (torch.zeros(1, 5, 3, dtype=torch.long), "expected .batch, 1 to 4 levels"),
        (torch.zeros(1, 4, 3), "expected integers"),
    ],
)
def test_what_is_no_code_is_refused(codec, codes, refusal):
    for use in (codec.decode, codec.dequantise):
        with pytest.raises(InputError, match=refusal):
            use(codes)


@pytest.mark.parametrize("shape", [None, DecoderConfig(dim=8, hidden=12, n_blocks=1)])
@pytest.mark.parametrize("kind", ["quantizer", "two_stages"])
def test_a_codec_comes_back_from_its_file(tmp_path, request, kind, shape):
    path, decoder, quantizer = (
        tmp_path / "mine.safetensors",
        shape and mel_decoder(shape),
        request.getfixturevalue(kind),
    )
    save_patches(path, quantizer, decoder)
    loaded, codec = load_codec(str(path), device="cpu"), patch_codec(quantizer, decoder)
    assert isinstance(loaded, PatchCodec) and loaded.name == "mine" and loaded.config == TINY
    assert loaded.content_hash == codec.content_hash == sha256_file(path)
    codes = codec.encode(sounds())
    assert torch.equal(loaded.encode(sounds()), codes) and torch.equal(loaded.decode(codes), codec.decode(codes))
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}


def test_the_content_hash_follows_vectors_and_decoder(quantizer, codec):
    other = PatchQuantizer(TINY)
    other.vectors.copy_(quantizer.vectors)
    assert patch_codec(other).content_hash == codec.content_hash != patch_codec(other, mel_decoder()).content_hash
    other.vectors[3, 5, 2] += 1
    assert patch_codec(other).content_hash != codec.content_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"n_levels": 5}},
        {"config": {"depth": 5}},
        {"config": [1]},
        {"decoder": {"dim": 8}},
        {"decoder": {"width": 8}},
        {"generator": "patch"},
    ],
)
def test_a_foreign_or_damaged_file_is_named(tmp_path, quantizer, changes):
    path = tmp_path / "foreign.safetensors"
    save_patches(path, quantizer)
    header = {"generator": "patches", "config": vars(TINY), "decoder": None} | changes
    save_file(load_file(path), path, metadata={"codec": json.dumps(header)})
    with pytest.raises(InputError, match=r"foreign\.safetensors: not a codec of this study"):
        load_codec(str(path), device="cpu")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"foreign\.safetensors: cannot be read"):
        load_codec(str(path), device="cpu")
