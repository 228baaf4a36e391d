"""Trains the networks that the suite ships, so that anyone can make the weights again from the official data.

    python bench/train.py mnist-mlp --data DIR      train, print the accuracy, write the weights to genn/suite/data
    python bench/train.py mnist-cnn --data DIR
    python bench/train.py samples --data DIR        write the real images that travel in the package

DIR (or $GENN_DATA) holds MNIST's four IDX files, or a folder ``mnist`` that does.  Of the 60,000 training images the
last 5,000 are held out; the epoch to keep is chosen on them.  The test set is looked at once, at the end.  The weights
are rounded to fp16 before every evaluation, so what is chosen, reported and shipped is the same network.

Seeds and threads are fixed: on one machine with one version of PyTorch, a second run writes the same bytes.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from genn import suite
from genn.errors import GennError
from genn.suite.idx import Bytes, Mnist, read_mnist

VALIDATION = 5_000
SAMPLES, CALIBRATION = 400, 256

Split = tuple[Tensor, Tensor]  # normalised images (n, 1, 28, 28), labels (n,)
State = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one model is trained; augmentation draws each image's amount uniformly from plus or minus these."""

    epochs: int
    batch: int = 128
    rate: float = 2e-3
    decay: float = 1e-2
    shift: float = 0.0  # pixels
    turn: float = 0.0  # degrees
    zoom: float = 0.0  # fraction
    seed: int = 1


RECIPES = {
    "mnist-mlp": Recipe(epochs=80, decay=0.1, shift=1.5, turn=10.0, zoom=0.1),
    "mnist-cnn": Recipe(epochs=28, shift=1.5, turn=8.0, zoom=0.08),
}


def set_up(threads: int) -> None:
    """Make every later step repeatable."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def augment(x: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """Each image turned, zoomed and shifted a little; what comes in from outside is background."""
    n, _, height, _ = x.shape
    draw = torch.rand(n, 4, generator=random) * 2 - 1
    angle, zoom = draw[:, 0] * math.radians(recipe.turn), 1 + draw[:, 1] * recipe.zoom
    move = draw[:, 2:] * (2 * recipe.shift / height)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], 1).view(n, 2, 3)
    background = suite.MNIST.normalise(np.zeros((1, 1, 1), np.uint8)).item()
    return F.grid_sample(x - background, F.affine_grid(theta, list(x.shape), False), align_corners=False) + background


def accuracy(model: nn.Module, split: Split) -> tuple[float, float]:
    """(percent right, mean loss) of the model as it is."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in split[0].split(1000)])
    right = (logits.argmax(1) == split[1]).sum().item()
    return 100 * right / len(split[1]), F.cross_entropy(logits, split[1]).item()


def rounded(state: State) -> State:
    """The state with every value the nearest that fp16 can hold, still float32."""
    half = {key: value.detach().to(torch.float16) for key, value in state.items()}
    if not all(value.isfinite().all() for value in half.values()):
        raise GennError("training left weights that fp16 cannot hold")
    return {key: value.to(torch.float32) for key, value in half.items()}


def fit(
    model: nn.Module,
    train: Split,
    validation: Split,
    recipe: Recipe,
    masks: State | None = None,
    tell: Callable[[int, float, float], None] = lambda epoch, percent, loss: None,
) -> State:
    """Train in place; return the fp16-exact state of the best epoch on ``validation`` (by accuracy, then by loss).

    Weights where ``masks`` is 0 stay exactly 0, so that fine-tuning a pruned model is this same function.
    """
    random = torch.Generator().manual_seed(recipe.seed)
    parameters = dict(model.named_parameters())
    steps = math.ceil(len(train[1]) / recipe.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.epochs * steps, pct_start=0.15, final_div_factor=1000
    )

    def apply_masks() -> None:
        with torch.no_grad():
            for key, mask in (masks or {}).items():
                parameters[key].mul_(mask)

    apply_masks()
    trial = copy.deepcopy(model)
    best: tuple[float, float] | None = None
    chosen: State = {}
    for epoch in range(recipe.epochs):
        model.train()
        for index in torch.randperm(len(train[1]), generator=random).split(recipe.batch):
            optimizer.zero_grad()
            logits = model(augment(train[0][index], recipe, random))
            F.cross_entropy(logits, train[1][index]).backward()
            optimizer.step()
            schedule.step()
            apply_masks()
        state = rounded(model.state_dict())
        trial.load_state_dict(state)
        percent, loss = accuracy(trial, validation)
        tell(epoch, percent, loss)
        if best is None or (percent, -loss) > best:
            best, chosen = (percent, -loss), state
    return chosen


def splits(data: Mnist) -> tuple[Split, Split, Split]:
    """Training, validation and test set, normalised."""
    x, y = tensors(data.train_images, data.train_labels)
    test = tensors(data.test_images, data.test_labels)
    return (x[:-VALIDATION], y[:-VALIDATION]), (x[-VALIDATION:], y[-VALIDATION:]), test


def tensors(images: Bytes, labels: Bytes) -> Split:
    return torch.from_numpy(suite.MNIST.normalise(images)), torch.from_numpy(labels.astype(np.int64))


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def packed_weights(state: State, facts: dict[str, Any]) -> bytes:
    """safetensors with fp16 values and, as one string of JSON, how they came about."""
    from safetensors.torch import save

    # One key only: safetensors writes several in no fixed order, and the file would differ from run to run.
    half = {key: value.to(torch.float16).contiguous() for key, value in state.items()}
    return save(half, {"training": json.dumps(facts, sort_keys=True)})


def packed_samples(data: Mnist) -> bytes:
    """The real images that travel in the package: the first of the test set, and the first of the training set."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        x=data.test_images[:SAMPLES],
        y=data.test_labels[:SAMPLES],
        calibration_x=data.train_images[:CALIBRATION],
        calibration_y=data.train_labels[:CALIBRATION],
    )
    return buffer.getvalue()


def train_model(name: str, recipe: Recipe, data: Mnist, console: Console) -> tuple[State, dict[str, Any]]:
    """Train one model of the suite; its fp16-exact state, and the figures that belong to it."""
    train, validation, test = splits(data)
    torch.manual_seed(recipe.seed)
    model = suite.build(name)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=recipe.epochs)

        def tell(epoch: int, percent: float, loss: float) -> None:
            progress.update(task, advance=1, description=f"{name}  epoch {epoch + 1}  validation {percent:.2f} %")

        state = fit(model, train, validation, recipe, tell=tell)
    model.load_state_dict(state)
    facts = {
        "model": name,
        "parameters": sum(value.numel() for value in state.values()),
        "validation_accuracy": round(accuracy(model, validation)[0], 2),
        "test_accuracy": round(accuracy(model, test)[0], 2),
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return state, facts


@click.command(context_settings={"show_default": True}, help=__doc__.split("\n")[0])
@click.argument("what", type=click.Choice([*RECIPES, "samples"]))
@click.option("--data", type=click.Path(path_type=Path), envvar="GENN_DATA", required=True, help="Folder with MNIST.")
@click.option("--out", type=click.Path(path_type=Path), default=suite.DATA, show_default="genn/suite/data")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's own number.", show_default=False)
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Another number may give other weights.")
@click.option("--json", "json_to", type=click.File("w"), help="Also write the figures as JSON (- is standard output).")
def main(what: str, data: Path, out: Path, epochs: int | None, threads: int, json_to: TextIO | None) -> None:
    set_up(threads)
    mnist = read_mnist(data)
    if what == "samples":
        path = out / suite.MNIST.file
        write_whole(path, packed_samples(mnist))
        facts: dict[str, Any] = {"samples": SAMPLES, "calibration": CALIBRATION}
    else:
        recipe = RECIPES[what] if epochs is None else replace(RECIPES[what], epochs=epochs)
        path = out / suite.entry(what).weights
        state, facts = train_model(what, recipe, mnist, Console(stderr=True))
        write_whole(path, packed_weights(state, facts))
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
