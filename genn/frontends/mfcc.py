"""Speech becomes a small picture of its spectrum over time; the keyword models are fed that, so its definition ships.

These are the mel-frequency cepstral coefficients as torchaudio computes them by default
(``torchaudio.transforms.MFCC`` at 16 kHz), written with NumPy and checked against values that torchaudio gave:

    frames   400 samples every 200, centred on their time: the signal is reflected by 200 samples at both ends
    window   Hann, periodic
    power    |FFT|^2, 201 bins from 0 to 8 kHz
    mel      128 triangles on the HTK scale, mel = 2595 log10(1 + f / 700), each of height 1
    decibel  10 log10(max(x, 1e-10)), and nothing further than 80 dB below the loudest of the recording
    cepstrum DCT-II over the bands, orthonormal, the first 40 coefficients
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

RATE = 16_000  # Hz
N_FFT, HOP = 400, 200  # samples
N_MELS, N_MFCC = 128, 40
FLOOR, TOP_DB = 1e-10, 80.0

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def hz_to_mel(hz: Doubles) -> Doubles:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def mel_to_hz(mel: Doubles) -> Doubles:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@cache
def window() -> Doubles:
    """Periodic Hann window (N_FFT,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)


@cache
def filterbank() -> Doubles:
    """Weight of each FFT bin in each mel band: (N_FFT // 2 + 1, N_MELS)."""
    bins = np.linspace(0, RATE // 2, N_FFT // 2 + 1)
    top = hz_to_mel(np.array(RATE / 2.0))
    edges = mel_to_hz(np.linspace(0.0, top, N_MELS + 2))
    slopes = edges[None, :] - bins[:, None]
    width = np.diff(edges)
    return np.maximum(0.0, np.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]))


@cache
def dct() -> Doubles:
    """Orthonormal DCT-II: (N_MELS, N_MFCC), to be multiplied from the right."""
    n, k = np.arange(N_MELS)[:, None], np.arange(N_MFCC)[None, :]
    basis = np.cos(np.pi / N_MELS * (n + 0.5) * k) * np.sqrt(2.0 / N_MELS)
    basis[:, 0] = np.sqrt(1.0 / N_MELS)
    return basis


def frames(samples: int) -> int:
    """Number of frames that ``samples`` samples give: 81 for one second."""
    return 1 + samples // HOP


def mel_power(wave: npt.NDArray[np.floating]) -> Doubles:
    """Mel band energies (..., frames, N_MELS) of waves (..., samples) in -1..1."""
    pad = [(0, 0)] * (wave.ndim - 1) + [(N_FFT // 2, N_FFT // 2)]
    padded = np.pad(np.asarray(wave, np.float64), pad, mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=-1)[..., ::HOP, :]
    spectrum = np.fft.rfft(cut * window())
    return (spectrum.real**2 + spectrum.imag**2) @ filterbank()


def mfcc(wave: npt.NDArray[np.generic]) -> Floats:
    """Coefficients (..., 40, frames) of waves (..., samples): int16, or floating point in -1..1.

    One second at 16 kHz gives (40, 81).  At least 201 samples are needed, for the reflection.
    """
    real = wave.astype(np.float64) / (32768.0 if wave.dtype == np.int16 else 1.0)
    if real.shape[-1] <= N_FFT // 2:
        raise ValueError(f"{real.shape[-1]} samples, where {N_FFT // 2 + 1} is the least")
    decibel = 10.0 * np.log10(np.maximum(mel_power(real), FLOOR))
    loudest = decibel.max(axis=(-2, -1), keepdims=True)
    cepstrum = np.maximum(decibel, loudest - TOP_DB) @ dct()
    return np.ascontiguousarray(np.swapaxes(cepstrum, -1, -2), np.float32)
