"""What each model of the suite is trained on: the split, what is held out of training, and how batches are varied.

Held out for every choice (epoch, weights): MNIST's last 5,000 training images, the windows of five HAR subjects, the
keywords' validation speakers.  MIT-BIH's DS1 has too few patients for that: its recipe was chosen by cross-validation
over them, four groups of patients, and trains on all.  Test sets are looked at once, at the end.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from train_fit import Data, Random, Recipe, whole

from genn.atomic import atomic_write
from genn.datasets.har import LENGTH, following, read_har
from genn.datasets.keywords import RATE, Keywords, read_keywords
from genn.datasets.mitbih import DS1, DS2, Record, cut, read_mitbih
from genn.datasets.mnist import read_mnist
from genn.frontends.mfcc import mfcc
from genn.paths import cache_dir
from genn.progress import steps
from genn.suite import catalog

MNIST_HELD = 5_000  # images
HAR_HELD = (3, 17, 25, 28)  # subjects
COPIES = 24  # varied versions of every keyword


def uniform(n: int, random: Random) -> Tensor:
    """n numbers in -1..1."""
    return torch.rand(n, generator=random) * 2 - 1


# -- MNIST ---------------------------------------------------------------------------------------------------------


def mnist(folder: Path, recipe: Recipe) -> Data:
    """extra: shift (pixels), turn (degrees), zoom (fraction); each image's amount is uniform in plus or minus these."""
    images = read_mnist(folder)
    x, y = mnist_pairs(images.train_images, images.train_labels)
    train, labels = x[:-MNIST_HELD], y[:-MNIST_HELD]
    return Data(
        labels,
        lambda index, random: moved(train[index], recipe.extra, random),
        (x[-MNIST_HELD:], y[-MNIST_HELD:]),
        mnist_pairs(images.test_images, images.test_labels),
        whole(labels),
    )


def mnist_pairs(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(catalog.MNIST.normalise(images)), torch.from_numpy(labels.astype(np.int64))


def moved(x: Tensor, extra: dict[str, float], random: Random) -> Tensor:
    """Each image turned, zoomed and shifted a little; what comes in from outside is background."""
    n, _, height, _ = x.shape
    draw = torch.rand(n, 4, generator=random) * 2 - 1
    angle, zoom = draw[:, 0] * math.radians(extra.get("turn", 0)), 1 + draw[:, 1] * extra.get("zoom", 0)
    move = draw[:, 2:] * (2 * extra.get("shift", 0) / height)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], 1).view(n, 2, 3)
    background = catalog.MNIST.normalise(np.zeros((1, 1, 1), np.uint8)).item()
    return F.grid_sample(x - background, F.affine_grid(theta, list(x.shape), False), align_corners=False) + background


# -- activity recognition ----------------------------------------------------------------------------------------------


def har(folder: Path, recipe: Recipe) -> Data:
    """Windows begin anywhere between two official ones where the recording goes on; extra: noise."""
    data = read_har(folder)
    after, x = following(data.train), data.train.x
    goes_on = after >= 0
    long = np.concatenate([x, x[:, :, LENGTH // 2 :]], 2)
    long[goes_on, :, LENGTH:] = x[after[goes_on]][:, :, LENGTH // 2 :]
    held = np.isin(data.train.subject, HAR_HELD)
    windows, free = torch.from_numpy(catalog.HAR.normalise(long[~held])), torch.from_numpy(goes_on[~held])
    labels = torch.from_numpy(data.train.y[~held])

    def batch(index: Tensor, random: Random) -> Tensor:
        start = torch.randint(0, LENGTH // 2 + 1, (len(index),), generator=random) * free[index]
        at = start[:, None] + torch.arange(LENGTH)
        chosen = windows[index].gather(2, at[:, None].expand(-1, windows.shape[1], -1))
        return chosen + recipe.extra.get("noise", 0) * torch.randn(chosen.shape, generator=random)

    def pair(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(catalog.HAR.normalise(x)), torch.from_numpy(y)

    validation = pair(x[held], data.train.y[held])
    return Data(labels, batch, validation, pair(data.test.x, data.test.y), whole(labels))


# -- keywords ----------------------------------------------------------------------------------------------------------


def keywords(folder: Path, recipe: Recipe) -> Data:
    """extra: mask (how often up to 12 frames are blanked)."""
    data = read_keywords(folder)
    pool = varied_keywords(data)
    labels = torch.from_numpy(data.train.y)

    def batch(index: Tensor, random: Random) -> Tensor:
        n = len(index)
        copy = torch.randint(0, len(pool), (n,), generator=random)
        x = torch.from_numpy(catalog.KWS.normalise(pool[copy.numpy(), index.numpy()]))
        width = torch.randint(0, 13, (n, 1), generator=random)
        first = (torch.rand(n, 1, generator=random) * (x.shape[2] - width)).long()
        frame = torch.arange(x.shape[2])
        blank = (frame >= first) & (frame < first + width)
        blank &= torch.rand(n, 1, generator=random) < recipe.extra.get("mask", 0)
        return x.masked_fill(blank[:, None], 0)

    def pair(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(catalog.KWS.normalise(coefficients(x))), torch.from_numpy(y)

    validation = pair(data.validation.x, data.validation.y)
    return Data(labels, batch, validation, pair(data.test.x, data.test.y), whole(labels))


def coefficients(waves: np.ndarray) -> np.ndarray:
    return np.concatenate([mfcc(part) for part in np.array_split(waves, max(1, len(waves) // 50))])


def varied_keywords(data: Keywords, seed: int = 1) -> np.ndarray:
    """MFCC (COPIES, n, 40, 81) in fp16 of every training utterance, each copy with its own tempo, time, loudness.

    Computed once, then read from the cache.
    """
    key = hashlib.sha256(data.train.x.tobytes())
    key.update(json.dumps([COPIES, seed, 1]).encode())  # the last number counts changes of the code below
    path = cache_dir() / "training" / f"keywords-{key.hexdigest()[:16]}.npy"
    if path.is_file():
        return np.load(path, mmap_mode="r")
    random = np.random.default_rng(seed)
    waves = data.train.x.astype(np.float32) / 32768
    noise = np.concatenate([n for n in data.noise if len(n) > RATE]).astype(np.float32) / 32768
    time = np.arange(RATE)
    pool = np.empty((COPIES, len(waves), 40, 81), np.float16)
    with steps("varying the keywords", COPIES) as done:
        for copy in range(COPIES):
            for at in range(0, len(waves), 100):
                batch = []
                for wave in waves[at : at + 100]:
                    tempo, shift = np.exp(random.uniform(-0.16, 0.16)), random.integers(-1600, 1601)
                    where = (time - RATE // 2) * tempo + RATE // 2 + shift
                    new = np.interp(where, time, wave, left=0, right=0) * 10 ** random.uniform(-0.5, 0.3)
                    start = random.integers(len(noise) - RATE)
                    room = random.integers(0, 2) * 10 ** random.uniform(-2, 0)
                    hiss = 10 ** random.uniform(-4.5, -2.5)
                    new += noise[start : start + RATE] * room + random.standard_normal(RATE) * hiss
                    batch.append(np.clip(new, -1, 1))
                pool[copy, at : at + 100] = mfcc(np.stack(batch))
            done(1)
    file = io.BytesIO()
    np.save(file, pool)
    atomic_write(path, file.getvalue())
    return pool


# -- heartbeats --------------------------------------------------------------------------------------------------------


def ecg(folder: Path, recipe: Recipe) -> Data:
    """Another part of the normal beats each epoch; extra: normal (that part), gain (log of amplitude), noise (mV)."""
    chosen = read_mitbih(folder, DS1)
    margin = 4  # samples that a window may come early or late
    windows = torch.from_numpy(catalog.ECG.normalise(np.concatenate([r.beats(margin) for r in chosen])))
    labels = torch.from_numpy(np.concatenate([r.y for r in chosen]))
    normal, other = torch.where(labels == 0)[0], torch.where(labels != 0)[0]
    each_epoch = int(len(normal) * recipe.extra.get("normal", 1))

    def order(random: Random) -> Tensor:
        drawn = torch.cat([normal[torch.randperm(len(normal), generator=random)[:each_epoch]], other])
        return drawn[torch.randperm(len(drawn), generator=random)]

    def batch(index: Tensor, random: Random) -> Tensor:
        n = len(index)
        start = torch.randint(0, 2 * margin + 1, (n,), generator=random)
        x = torch.from_numpy(cut(windows[index].numpy(), margin, start.numpy()))
        gain = torch.exp(recipe.extra.get("gain", 0) * torch.randn(n, 1, generator=random))
        return x * gain + recipe.extra.get("noise", 0) * torch.randn(x.shape, generator=random)

    def pair(records: list[Record]) -> tuple[Tensor, Tensor]:
        x = np.concatenate([r.beats() for r in records])
        return torch.from_numpy(catalog.ECG.normalise(x)), torch.from_numpy(np.concatenate([r.y for r in records]))

    return Data(labels, batch, None, pair(read_mitbih(folder, DS2)), order)


LOADERS: dict[str, Callable[[Path, Recipe], Data]] = {"mnist": mnist, "har": har, "kws": keywords, "ecg": ecg}
