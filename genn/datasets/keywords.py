"""Spoken keywords in the folder layout of Google's Speech Commands: one folder a word, one wav an utterance.

Splits are by speaker.  The folder has ``train.txt``, ``val.txt`` and ``test.txt``, or, as Speech Commands does,
``validation_list.txt`` and ``testing_list.txt``, and all other files are for training, or no list at all, as the Arabic
Speech Commands: then those by the speakers below are held out.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from genn.datasets.folder import locate
from genn.errors import UsageError
from genn.progress import steps

RATE = 16_000  # Hz; an utterance is one second
WORDS = ("close", "down", "left", "no", "open", "right", "start", "stop", "up", "yes")
NOISE = "_background_noise_"
VALIDATION_SPEAKERS = ("00000002", "00000007", "00000008", "00000012", "00000021", "00000025")
TEST_SPEAKERS = ("00000003", "00000004", "00000010", "00000014", "00000026", "00000028")

Waves = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Utterances:
    """x (n, 16000) int16 at 16 kHz, y (n,) index of the word, speaker (n,) as the file names tell."""

    x: Waves
    y: Ints
    speaker: npt.NDArray[np.str_]


@dataclass(frozen=True)
class Keywords:
    """noise: recordings (samples,) without speech, of any length; empty where the set has none."""

    train: Utterances
    validation: Utterances
    test: Utterances
    noise: list[Waves]


def read_keywords(data: Path | str, words: Sequence[str] = WORDS, name: str = "keywords") -> Keywords:
    """The utterances of ``words``.  Speech Commands' own words go likewise: name ``speech_commands``."""
    root = locate(data, name, f"{words[0]}/*.wav", (name,))
    lists = _lists(root)
    with steps("reading wav files", sum(map(len, lists))) as done:
        train, validation, test = (_utterances(root, names, words, done) for names in lists)
    for a, b in ((train, validation), (train, test), (validation, test)):
        if set(a.speaker) & set(b.speaker):
            raise UsageError("a speaker is in two of the lists", str(root), "fetch the set again")
    return Keywords(train, validation, test, [read_wav(p) for p in sorted((root / NOISE).glob("*.wav"))])


def _lists(root: Path) -> tuple[list[str], list[str], list[str]]:
    if (root / "train.txt").is_file():
        return _lines(root / "train.txt"), _lines(root / "val.txt"), _lines(root / "test.txt")
    every = sorted(f"{p.parent.name}/{p.name}" for p in root.glob("*/*.wav") if p.parent.name != NOISE)
    if (root / "testing_list.txt").is_file():
        validation, test = _lines(root / "validation_list.txt"), _lines(root / "testing_list.txt")
    else:
        validation, test = (
            [name for name in every if _speaker(name) in held] for held in (VALIDATION_SPEAKERS, TEST_SPEAKERS)
        )
    held = {*validation, *test}
    return [name for name in every if name not in held], validation, test


def _speaker(name: str) -> str:
    return PurePosixPath(name).name.split("_")[0]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error})", str(path), "fetch the set again") from error


def _utterances(root: Path, names: list[str], words: Sequence[str], done: Callable[[int], None]) -> Utterances:
    waves, labels, speakers = [], [], []
    index = {word: k for k, word in enumerate(words)}
    for name in names:
        done(1)
        parts = PurePosixPath(name).parts
        if len(parts) != 2 or ".." in parts:
            raise UsageError(f"{name!r} is not word/file.wav", str(root), "fetch the set again")
        if parts[0] in index:
            waves.append(_one_second(read_wav(root / name)))
            labels.append(index[parts[0]])
            speakers.append(_speaker(name))
    if not waves:
        raise UsageError(f"a list names no utterance of {', '.join(words)}", str(root), "fetch the set again")
    return Utterances(np.stack(waves), np.array(labels, np.int64), np.array(speakers))


def _one_second(samples: Waves) -> Waves:
    """Exactly one second: the middle of what is longer, silence around what is shorter."""
    extra = len(samples) - RATE
    if extra >= 0:
        return samples[extra // 2 : extra // 2 + RATE]
    return np.pad(samples, (-extra // 2, -extra - -extra // 2))


def read_wav(path: Path) -> Waves:
    """The samples of one wav file: mono, 16 bits, 16 kHz."""
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if form != (1, 2, RATE):
                what = "{} channels of {} bytes at {} Hz".format(*form)
                raise UsageError(
                    f"{what}, where 1 of 2 bytes at {RATE} Hz is due", str(path), "convert it, or fetch the set again"
                )
            raw = file.readframes(min(file.getnframes(), 600 * RATE))
    except (wave.Error, EOFError) as error:
        raise UsageError(f"not a wav file ({error})", str(path), "fetch the set again") from error
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror or error})", str(path), "fetch the set again") from error
    if len(raw) % 2 or not raw:
        raise UsageError("cut short", str(path), "fetch the set again")
    return np.frombuffer(raw, "<i2").astype(np.int16)
