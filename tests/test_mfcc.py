"""The keyword models' front end against torchaudio, whose values are written down here, and its own definition."""

from __future__ import annotations

import numpy as np
import pytest

from genn.frontends import mfcc as front

TIME = np.arange(16_000) / 16_000
WAVES = {
    "chirp": 0.5 * np.sin(2 * np.pi * (200 * TIME + 1500 * TIME**2)),
    "noise": np.random.default_rng(7).standard_normal(16_000) * 0.1,
    "silence": np.zeros(16_000),
    "click": np.eye(1, 16_000, 5_000)[0],
}
# torchaudio 2.11, transforms.MFCC(16000).double(): coefficients 0, 1, 2, 13, 39 of frames 0, 40, 80.
TORCHAUDIO = {
    "chirp": [
        [-132.2695, -451.7296, -116.5575],
        [147.3356, 3.8287, -66.7872],
        [18.4138, -85.8001, -52.7442],
        [-5.4152, 16.5213, -13.6266],
        [-17.3191, -4.0549, -6.355],
    ],
    "noise": [
        [-27.7218, -18.0909, -34.5921],
        [-64.4833, -70.6666, -89.3101],
        [-13.6164, -10.104, -25.5042],
        [-5.2346, -18.392, -2.4601],
        [-20.9499, -13.2528, -6.2094],
    ],
    "silence": [[-1131.3708] * 3, [0] * 3, [0] * 3, [0] * 3, [0] * 3],
    "click": [[-835.1212] * 3, [0] * 3, [0] * 3, [0] * 3, [0] * 3],
}


@pytest.mark.parametrize("name", WAVES)
def test_equals_torchaudio(name: str) -> None:
    found = front.mfcc(WAVES[name])
    assert found.shape == (40, 81) and found.dtype == np.float32
    assert np.allclose(found[[0, 1, 2, 13, 39]][:, [0, 40, 80]], TORCHAUDIO[name], rtol=0, atol=2e-3)


def test_equals_its_definition_written_out() -> None:
    """One frame by plain sums: no FFT, no matrix product."""
    wave, frame = WAVES["chirp"], 7
    n = np.arange(400)
    cut = np.array([wave[abs(i)] for i in range(frame * 200 - 200, frame * 200 + 200)]) * (
        0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    )
    power = [abs(np.sum(cut * np.exp(-2j * np.pi * k * n / 400))) ** 2 for k in range(201)]
    mel_top = 2595 * np.log10(1 + 8000 / 700)
    edge = [700 * (10 ** (mel_top * i / 129 / 2595) - 1) for i in range(130)]
    bands = []
    for low, mid, high in zip(edge, edge[1:], edge[2:]):
        weight = [max(0, min((40 * k - low) / (mid - low), (high - 40 * k) / (high - mid))) for k in range(201)]
        bands.append(sum(w * p for w, p in zip(weight, power)))
    decibel = np.array([10 * np.log10(max(b, 1e-10)) for b in bands])
    loudest = 10 * np.log10(front.mel_power(wave).max())
    decibel = np.maximum(decibel, loudest - 80)
    want = [
        sum(d * np.cos(np.pi * k * (2 * i + 1) / 256) for i, d in enumerate(decibel)) * np.sqrt((2 - (k == 0)) / 128)
        for k in range(40)
    ]
    assert np.allclose(front.mfcc(wave)[:, frame], want, rtol=0, atol=1e-3)


def test_int16_and_batches_give_the_same() -> None:
    waves = (np.stack([WAVES["chirp"], WAVES["noise"]]) * 20_000).astype(np.int16)
    both = front.mfcc(waves)
    assert both.shape == (2, 40, 81)
    for wave, one in zip(waves, both):
        assert np.array_equal(front.mfcc(wave), one)
        assert np.array_equal(front.mfcc(wave / 32768), one)


def test_too_short_is_refused() -> None:
    assert front.mfcc(np.zeros(201)).shape == (40, 2)
    with pytest.raises(ValueError, match="200 samples, where 201"):
        front.mfcc(np.zeros(200))
