"""MFCC in integers, for the device: the same definition as ``genn.frontends.mfcc``, and exactly what the C computes.

Every step is exact integer arithmetic on int64 arrays that fits 32 bits in C; there is no 64-bit product, which costs
ARMv6-M a library call.  The steps and their scales, with x the int16 samples:

    window    y = x * hann, 6 bits below the point; hann is made of the cosine table
    FFT       200 complex points (even and odd samples as real and imaginary part), radices 4, 5, 5, 2, cosines of
              16 bits; no step can overflow, since no partial sum exceeds 2**29; then split into 201 bins
    power     each bin's square with 31 bits of its own, then on the frame's common exponent: 29 bits
    mel       two triangles meet in a bin: a weight of 15 bits and its rest
    decibel   table of log2 with 64 pieces, 1/32 dB; nothing under -100 dB, nor 80 dB under the loudest
    cepstrum  cosines of 16 bits, an accumulator of 32

How far it is from the definition in floating point, coefficient by coefficient, is what ``error`` measures.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from genn.frontends import mfcc

HALF = mfcc.N_FFT // 2  # complex points
BINS = HALF + 1
RADICES = (4, 5, 5, 2)
STEPS_DB = 32  # levels are in 1/32 dB
LEAST = -100 * STEPS_DB  # 10 log10(FLOOR)
RANGE = int(mfcc.TOP_DB) * STEPS_DB
DB_BITS = 13  # of 10 log10(2) before rounding to 1/32 dB
OCTAVE = round(10 * np.log10(2.0) * (1 << DB_BITS))
DCT_BITS = 15
MOST = 60 * STEPS_DB  # no level is above: a bin's amplitude is at most 200, a band has at most 4.5 bins' weight
ENERGY_BITS = 55  # bits below the point of what ``mel_levels`` takes the logarithm of, at exponent 0

Ints = npt.NDArray[np.int64]


@cache
def cosines() -> Ints:
    """cos(2 pi k / 400) with 15 bits, 1 being 32767: (400,)."""
    k = np.arange(mfcc.N_FFT)
    return np.minimum(np.floor(np.cos(2 * np.pi * k / mfcc.N_FFT) * 32768 + 0.5), 32767).astype(np.int64)


@cache
def mel_weights() -> tuple[Ints, Ints]:
    """For each bin the band whose rising side it is on, and its weight of 15 bits; the band before has the rest."""
    bins = np.linspace(0, mfcc.RATE // 2, BINS)
    edges = mfcc.mel_to_hz(np.linspace(0.0, mfcc.hz_to_mel(np.array(mfcc.RATE / 2.0)), mfcc.N_MELS + 2))
    band = np.minimum(np.searchsorted(edges, bins, side="right") - 1, mfcc.N_MELS)
    rising = (bins - edges[band]) / (edges[band + 1] - edges[band])
    return band.astype(np.int64), np.floor(rising * 32768 + 0.5).astype(np.int64)


@cache
def logarithms() -> Ints:
    """10 log10(1 + i / 64) with DB_BITS bits: (65,)."""
    return np.floor(10 * np.log10(1 + np.arange(65) / 64) * (1 << DB_BITS) + 0.5).astype(np.int64)


@cache
def dct() -> Ints:
    """The cosines of the cepstrum with DCT_BITS bits: (N_MFCC, N_MELS)."""
    return np.floor(mfcc.dct().T * (1 << DCT_BITS) + 0.5).astype(np.int64)


def multiply(a: Ints, w: Any) -> Ints:
    """a * w / 2**15 rounded half up: |a| < 2**30, w of 16 bits."""
    return (a * w + (1 << 14)) >> 15


def windowed(x: Ints) -> tuple[Ints, Ints]:
    """Even and odd samples of every frame with the window, 6 bits below the point: two (..., frames, HALF)."""
    count = mfcc.frames(x.shape[-1])
    at = np.arange(count)[:, None] * mfcc.HOP + np.arange(mfcc.N_FFT) - HALF
    last = x.shape[-1] - 1
    at = np.where(at < 0, -at, at)
    at = np.where(at > last, 2 * last - at, at)
    hann = (32768 - cosines()) >> 1
    y = (x[..., at] * hann + (1 << 8)) >> 9
    return y[..., 0::2], y[..., 1::2]


def _turned(re: Ints, im: Ints, index: Ints) -> tuple[Ints, Ints]:
    """(re + i im) * exp(-2 pi i index / 400); index 0 leaves it as it is."""
    c, s = cosines()[index % mfcc.N_FFT], cosines()[(index - 100) % mfcc.N_FFT]
    turned = multiply(re, c) + multiply(im, s), multiply(im, c) - multiply(re, s)
    return np.where(index == 0, re, turned[0]), np.where(index == 0, im, turned[1])


def fft(re: Ints, im: Ints) -> tuple[Ints, Ints]:
    """The discrete Fourier transform over the last axis (HALF points), stage by stage from one array to another."""
    lead = re.shape[:-1]
    n, stride = HALF, 1
    for radix in RADICES:
        m = n // radix
        a = [(x[0], x[1]) for x in zip(*(np.moveaxis(v.reshape(*lead, radix, m, stride), -3, 0) for v in (re, im)))]
        made = _butterfly(a)
        turn = np.arange(m)[:, None] * stride * 2
        parts = [made[0], *(_turned(*made[k], turn * k) for k in range(1, radix))]
        re, im = (np.stack([p[part] for p in parts], -2).reshape(*lead, HALF) for part in (0, 1))
        n, stride = m, stride * radix
    return re, im


def _butterfly(a: list[tuple[Ints, Ints]]) -> list[tuple[Ints, Ints]]:
    """The transform of 2, 4 or 5 points."""

    def add(p: tuple[Ints, Ints], q: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
        return p[0] + q[0], p[1] + q[1]

    def sub(p: tuple[Ints, Ints], q: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
        return p[0] - q[0], p[1] - q[1]

    def right(p: tuple[Ints, Ints]) -> tuple[Ints, Ints]:  # times -i
        return p[1], -p[0]

    if len(a) == 2:
        return [add(*a), sub(*a)]
    if len(a) == 4:
        t0, t1, t2, t3 = add(a[0], a[2]), sub(a[0], a[2]), add(a[1], a[3]), right(sub(a[1], a[3]))
        return [add(t0, t2), add(t1, t3), sub(t0, t2), sub(t1, t3)]
    cos1, cos2, sin1, sin2 = (int(cosines()[k]) for k in (80, 160, 20, 60))  # sin x = cos(x - 90 degrees)

    def mixed(p: tuple[Ints, Ints], u: int, q: tuple[Ints, Ints], v: int) -> tuple[Ints, Ints]:
        return multiply(p[0], u) + multiply(q[0], v), multiply(p[1], u) + multiply(q[1], v)

    t1, t2, t3, t4 = add(a[1], a[4]), add(a[2], a[3]), sub(a[1], a[4]), sub(a[2], a[3])
    m1, m2 = add(a[0], mixed(t1, cos1, t2, cos2)), add(a[0], mixed(t1, cos2, t2, cos1))
    n1, n2 = right(mixed(t3, sin1, t4, sin2)), right(mixed(t3, sin2, t4, -sin1))
    return [add(a[0], add(t1, t2)), add(m1, n1), add(m2, n2), sub(m2, n2), sub(m1, n1)]


def spectrum(x: Ints) -> tuple[Ints, Ints]:
    """The 201 bins of every frame, 22 bits below the point of the wave in -1..1: two (..., frames, BINS)."""
    re, im = fft(*windowed(x))
    k = np.arange(BINS)
    ar, ai, br, bi = re[..., k % HALF], im[..., k % HALF], re[..., -k % HALF], -im[..., -k % HALF]
    odd_re, odd_im = _turned(ai - bi, br - ar, k)  # (a - b) / i, turned
    return ar + br + odd_re, ai + bi + odd_im


def bits(x: Ints) -> Ints:
    """How many bits a number >= 0 has."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


def mel_levels(x: Ints) -> Ints:
    """Level of every band in 1/32 dB, LEAST at least: (..., frames, N_MELS)."""
    re, im = spectrum(x)
    own = np.maximum(bits(np.maximum(np.abs(re), np.abs(im))), 15)
    frame = own.max(-1, keepdims=True)
    shift = own - 15
    square = (re >> shift) ** 2 + (im >> shift) ** 2
    power = square >> np.minimum(2 * (frame - own) + 2, 31)
    band, rising = mel_weights()
    whole, part = power >> 16, power & 0xFFFF
    high = np.zeros((*power.shape[:-1], mfcc.N_MELS + 2), np.int64)
    low = np.zeros_like(high)
    for k in range(BINS):
        for j, weight in ((band[k] + 1, rising[k]), (band[k], 32768 - rising[k])):
            high[..., j] += whole[..., k] * weight
            low[..., j] += (part[..., k] * weight) >> 4
    high, low = high[..., 1:-1], low[..., 1:-1]
    energy = ((high + (low >> 12)) << 12) | (low & 0xFFF)
    size = bits(energy)
    top = np.where(size > 22, energy >> np.maximum(size - 22, 0), energy << np.maximum(22 - size, 0))
    index, fraction = (top >> 15) & 63, (top & 0x7FFF) << 1
    table = logarithms()
    piece = table[index] + (((table[index + 1] - table[index]) * fraction) >> 16)
    level = (OCTAVE * (size - 1 - ENERGY_BITS + 2 * (frame - 15) + 2) + piece + (1 << 7)) >> (DB_BITS - 5)
    return np.maximum(np.where(energy == 0, LEAST, level), LEAST)


def cepstrum(x: npt.NDArray[np.integer]) -> Ints:
    """Coefficients times 2**(DCT_BITS + 5), an integer: (..., N_MFCC, frames), of int16 waves (..., samples)."""
    level = mel_levels(np.asarray(x, np.int64))
    level = np.maximum(level, level.max(axis=(-2, -1), keepdims=True) - RANGE)
    return np.swapaxes(level @ dct().T, -1, -2)


def reach() -> int:
    """What no cepstrum exceeds in magnitude."""
    return int(np.abs(dct()).sum(1).max()) * max(-LEAST, MOST)


def error(waves: npt.NDArray[np.int16]) -> tuple[float, float]:
    """(root mean square, largest) difference to the definition in floating point over int16 waves (n, samples)."""
    off = cepstrum(waves) / (STEPS_DB << DCT_BITS) - mfcc.mfcc(waves)
    return float(np.sqrt(np.mean(off**2))), float(np.abs(off).max())
