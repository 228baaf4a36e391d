"""Trains the networks that the suite ships, so that anyone can make the weights again from the official data.

    python bench/train.py har-cnn --data DIR          train, print the accuracy, write the weights to genn/suite/data
    python bench/train.py har-cnn-sparse --data DIR   prune what har-cnn has there, fine-tune, write

DIR (or $GENN_DATA) holds the set: see ``genn data``.  Epochs are chosen on images, speakers, subjects and patients held
out of the training set (``train_data.py``).  The test set is looked at once, at the end.

Seeds and threads are fixed: on one machine with one version of PyTorch, a second run writes the same bytes.  Measured
on one core of a shared x86-64 server with PyTorch 2.13: 1 to 10 minutes a model.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np
import torch
from train_data import LOADERS
from train_fit import Data, Recipe, State, accuracy, fit, fit_sparse

from genn import progress, suite
from genn.atomic import atomic_write
from genn.errors import GennError
from genn.progress import steps
from genn.suite.packing import pack

MNIST_MOVES = {"shift": 1.5, "turn": 8.0, "zoom": 0.08}
HAR = Recipe(epochs=12, decay=0.05, dropout=0.3, smoothing=0.1, average=0.005, extra={"noise": 0.05})
KWS = Recipe(epochs=60, decay=0.05, smoothing=0.05, mix=0.3, average=0.01, extra={"mask": 0.5})
ECG = Recipe(
    epochs=6, batch=128, dropout=0.2, smoothing=0.05, mix=0.3, average=0.005, orthogonal=True,
    extra={"normal": 0.6, "gain": 0.2, "noise": 0.03},
)  # fmt: skip
RECIPES = {
    "mnist-mlp": Recipe(
        epochs=80, batch=128, rate=2e-3, decay=0.1, extra={"shift": 1.5, "turn": 10.0, "zoom": 0.1}
    ),
    "mnist-mlp-sparse": Recipe(
        epochs=20, batch=128, decay=0.1, sparsity=0.8, extra={"shift": 1.5, "turn": 10.0, "zoom": 0.1}
    ),
    "mnist-cnn": Recipe(epochs=28, batch=128, rate=2e-3, extra=MNIST_MOVES),
    "mnist-cnn-sparse": Recipe(epochs=24, batch=128, rate=2e-3, extra=MNIST_MOVES),
    "har-mlp": replace(HAR, epochs=14),
    "har-mlp-sparse": replace(HAR, rate=5e-4),
    "har-cnn": HAR,
    "har-cnn-sparse": replace(HAR, epochs=10, rate=5e-4, sparsity=0.8),
    "kws-mlp": replace(KWS, epochs=40, rate=5e-4, dropout=0.3),
    "kws-mlp-sparse": replace(KWS, epochs=24, rate=5e-4, dropout=0.3),
    "kws-cnn": replace(KWS, dropout=0.2),
    "kws-cnn-sparse": replace(KWS, epochs=80, mix=0.0, extra={}, layered=False, teacher=0.7),
    "kws-dscnn": replace(KWS, epochs=80, rate=2e-3),
    "kws-dscnn-sparse": replace(KWS, epochs=120, rate=2e-3, mix=0.0, extra={}, layered=False, teacher=0.7),
    "ecg-mlp": ECG,
    "ecg-mlp-sparse": replace(ECG, epochs=12, dropout=0.0, mix=0.0, layered=False, teacher=0.7),
}  # fmt: skip
SPARSE = "-sparse"


def set_up(threads: int) -> None:
    """Make every later step repeatable."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def load_data(name: str, recipe: Recipe, folder: Path) -> Data:
    return LOADERS[name.split("-")[0]](folder, recipe)


def train_model(name: str, recipe: Recipe, data: Data) -> tuple[State, dict[str, Any]]:
    """Train one model of the suite; its fp16-exact state, and the figures that belong to it."""
    sparse = name.endswith(SPARSE)
    began = time.monotonic()
    torch.manual_seed(recipe.seed)
    model = suite.load(name.removesuffix(SPARSE))[0] if sparse else suite.build(name)
    with steps(name, recipe.epochs) as done:

        def tell(epoch: int, percent: float, loss: float) -> None:
            done(1)
            best = f": best validation {percent:.2f} %" if percent else ""
            print(f"{name} epoch {epoch + 1}/{recipe.epochs}{best}", file=sys.stderr, flush=True)

        state = (fit_sparse if sparse else fit)(model, data, recipe, tell)
    model.load_state_dict(state)
    weights = [value for value in state.values() if value.ndim > 1]
    facts = {
        "model": name,
        "parameters": sum(value.numel() for value in state.values()),
        "zeros": round(100 * sum((w == 0).sum().item() for w in weights) / sum(w.numel() for w in weights), 2),
        "validation_accuracy": data.validation and round(accuracy(model, data.validation)[0], 2),
        "test_accuracy": round(accuracy(model, data.test)[0], 2),
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return state, facts


def packed_weights(state: State, facts: dict[str, Any]) -> bytes:
    """safetensors with fp16 values and, as one string of JSON, how they came about."""
    from safetensors.numpy import save

    # One key only: safetensors writes several in no fixed order, and the file would differ from run to run.
    half = {key: value.detach().numpy().astype(np.float16) for key, value in state.items()}
    return save(pack(half), {"training": json.dumps(facts, sort_keys=True)})


@click.command(context_settings={"show_default": True}, help=__doc__.split("\n")[0])
@click.argument("name", type=click.Choice(list(RECIPES)))
@click.option("--data", type=click.Path(path_type=Path), envvar="GENN_DATA", required=True, help="Folder with the set.")
@click.option("--out", type=click.Path(path_type=Path), default=suite.DATA, show_default="genn/suite/data")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's own number.", show_default=False)
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Another number may give other weights.")
@click.option("--json", "json_to", type=click.File("w"), help="Also write the figures as JSON (- is standard output).")
def main(name: str, data: Path, out: Path, epochs: int | None, threads: int, json_to: TextIO | None) -> None:
    set_up(threads)
    progress.enable()
    recipe = RECIPES[name]
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    path = out / suite.entry(name).weights
    state, facts = train_model(name, recipe, load_data(name, recipe, data))
    atomic_write(path, packed_weights(state, facts))
    facts |= {"bytes": path.stat().st_size}
    line = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items() if key != "recipe")
    click.echo(f"{path.name}: {line}", err=json_to is not None)
    if json_to:
        json.dump(facts, json_to, indent=1)
        json_to.write("\n")


if __name__ == "__main__":
    try:
        main()
    except GennError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
