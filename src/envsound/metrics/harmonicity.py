"""How periodic a sound is, frame by frame, and at which pitch: what log-mel distances cannot hear.

Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound": the highest local maximum of a windowed frame's autocorrelation, divided by that of the window, is the share of
its energy that is periodic.
"""

import torch
from torch import Tensor

WINDOW_S, HOP_S = 0.064, 0.02  # s
PITCH_HZ = (80.0, 2000.0)
FINE = 4  # lags a sample: a high pitch has its maximum between two samples
OCTAVE_COST = 0.01  # a peak an octave lower must be this much higher: of equal ones the shortest period is meant
SOUNDING = 1e-6  # mean square of a frame, -60 dB; quieter ones are not judged
VOICED = 0.6  # share of energy that is periodic
SAME_PITCH = 1 / 24  # octaves, half a semitone


def periodicity(clips: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return the periodic share of energy (0 to 1) and the pitch (Hz) of clips [batch, n_samples]: [batch, n_frames].

    Share and pitch are 0 in frames without a local maximum.
    """
    size, hop = round(WINDOW_S * sample_rate), round(HOP_S * sample_rate)
    window = torch.hann_window(size, device=clips.device)
    padded = torch.nn.functional.pad(clips, (0, max(0, size - clips.shape[1])))
    frames = padded.unfold(1, size, hop)
    frames = (frames - frames.mean(-1, keepdim=True)) * window
    shortest, longest = (round(FINE * sample_rate / hz) for hz in reversed(PITCH_HZ))  # in 1 / FINE samples
    lags = torch.arange(shortest - 1, longest + 2, device=clips.device)
    own, ideal = (_autocorrelation(x)[..., shortest - 1 : longest + 2] for x in (frames, window))
    ratio = own / ideal  # 1 where a frame is perfectly periodic
    before, here, after = ratio[..., :-2], ratio[..., 1:-1], ratio[..., 2:]
    peak = (here > before) & (here >= after) & (here > 0)
    bend = (before - 2 * here + after).clamp(max=-1e-6)
    offset = (0.5 * (before - after) / bend).clamp(-0.5, 0.5)  # of the parabola through three points
    height = (here - 0.25 * (before - after) * offset).clamp(max=1.0)
    octaves = torch.log2(lags[1:-1] / shortest)
    best = torch.where(peak, height - OCTAVE_COST * octaves, -1.0).argmax(-1, keepdim=True)
    found = peak.gather(-1, best)[..., 0]
    share = height.gather(-1, best)[..., 0] * found
    pitch = (
        FINE * sample_rate / (lags[1:-1].expand_as(offset).gather(-1, best) + offset.gather(-1, best))[..., 0] * found
    )
    return share, pitch


def harmonicity(real: Tensor, heard: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """Compare clips [batch, n_samples] with what was made of them: values [batch], NaN where there is nothing to judge.

    harmonicity_original, harmonicity: mean periodic share over the original's sounding frames; harmonicity_error: mean
    absolute difference of the two; pitch_agreement: share of the original's voiced frames whose pitch came back.
    """
    share, pitch = periodicity(real, sample_rate)
    other, other_pitch = periodicity(heard, sample_rate)
    size, hop = round(WINDOW_S * sample_rate), round(HOP_S * sample_rate)
    padded = torch.nn.functional.pad(real, (0, max(0, size - real.shape[1])))
    sounding = padded.unfold(1, size, hop).square().mean(-1) > SOUNDING
    voiced = sounding & (share > VOICED)
    same = (torch.log2(other_pitch.clamp(min=1) / pitch.clamp(min=1)).abs() < SAME_PITCH).float()
    return {
        "harmonicity_original": _mean(share, sounding),
        "harmonicity": _mean(other, sounding),
        "harmonicity_error": _mean((share - other).abs(), sounding),
        "pitch_agreement": _mean(same, voiced),
    }


def _autocorrelation(frames: Tensor) -> Tensor:
    """Return the autocorrelation of frames [.., size] over that at lag 0, at FINE lags a sample: [.., FINE * size]."""
    size = frames.shape[-1]
    power = torch.fft.rfft(frames, n=2 * size).abs().square()
    values = torch.fft.irfft(power, n=2 * FINE * size)[..., : FINE * size]
    return values / values[..., :1].clamp(min=1e-12)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of values [batch, n_frames] over the frames chosen, NaN without one: [batch]."""
    return (values * where).sum(1) / where.sum(1)
