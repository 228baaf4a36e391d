"""Trains one network reproducibly: shuffled batches, one cycle of the learning rate, an average of the weights, masks.

What a training run returns is exactly representable in fp16, and was chosen on validation data in that form, so what is
chosen, reported and shipped is the same network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genn.errors import GennError

NARROW = 16

Split = tuple[Tensor, Tensor]  # network inputs, labels (n,)
State = dict[str, Tensor]
Random = torch.Generator
Tell = Callable[[int, float, float], None]


@dataclass(frozen=True)
class Recipe:
    """How one model is trained, or how a trained one is pruned and fine-tuned."""

    epochs: int
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-2
    dropout: float = 0.0  # behind activations
    smoothing: float = 0.0  # of the labels
    mix: float = 0.0  # the largest part of another sample that is mixed in
    average: float = 0.0  # part of each step's weights in the running average; 0: no average
    seed: int = 1
    sparsity: float = 0.9  # part of each weight tensor that the sparse model has as zeros
    layered: bool = True  # every weight tensor has that part of zeros; else all together have
    teacher: float = 0.0  # share of the dense model's own answers in what the sparse one is to learn
    orthogonal: bool = False  # what linear layers begin with: a deep network of narrow ones learns sooner
    extra: dict[str, float] = field(default_factory=dict)  # the data set's own settings


@dataclass(frozen=True)
class Data:
    """What to train on.  ``order`` draws the samples of one epoch; ``batch`` makes network inputs of some of them."""

    labels: Tensor  # of all training samples
    batch: Callable[[Tensor, Random], Tensor]
    validation: Split | None  # None: the last epoch is kept
    test: Split
    order: Callable[[Random], Tensor]


def whole(labels: Tensor) -> Callable[[Random], Tensor]:
    """Every sample once an epoch, in random order."""
    return lambda random: torch.randperm(len(labels), generator=random)


def scores(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(1000)])


def accuracy(model: nn.Module, split: Split) -> tuple[float, float]:
    """(percent right, mean loss) of the model as it is."""
    found = scores(model, split[0])
    right = (found.argmax(1) == split[1]).sum().item()
    return 100 * right / len(split[1]), loss_of(model)(found, one_hot(split[1], found.shape[1])).item()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels, classes).float()


def loss_of(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross entropy of logits; of each score on its own where the model ends in a sigmoid."""
    if any(isinstance(module, nn.Sigmoid) for module in model.modules()):
        return lambda found, wanted: F.binary_cross_entropy(found, wanted) * wanted.shape[1]
    return F.cross_entropy


def answers(model: nn.Module, x: Tensor) -> Tensor:
    """What the model believes of each class."""
    with torch.no_grad():
        found = model(x)
    sigmoid = any(isinstance(module, nn.Sigmoid) for module in model.modules())
    return found if sigmoid else found.softmax(1)


def rounded(state: State) -> State:
    """The state with every value the nearest that fp16 can hold, still float32."""
    half = {key: value.detach().to(torch.float16) for key, value in state.items()}
    if not all(value.isfinite().all() for value in half.values()):
        raise GennError("training left weights that fp16 cannot hold")
    return {key: value.to(torch.float32) for key, value in half.items()}


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """The weight tensors that are pruned: those of linear layers and convolutions, biases and slopes not."""
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }


def magnitude_masks(model: nn.Module, recipe: Recipe, sparsity: float) -> State:
    """1 for the largest weights, 0 for the part ``sparsity`` of them that is smallest, of each tensor or of all.

    Across tensors a weight counts by its square as a part of all squares no smaller (LAMP: Lee et al., 2021).
    """
    weights = {key: weight.detach() for key, weight in prunable(model).items()}
    if recipe.layered:
        return {key: largest(weight.abs(), sparsity) for key, weight in weights.items()}
    scores = []
    for weight in weights.values():
        order = weight.abs().flatten().argsort(stable=True)
        square = weight.flatten()[order].double() ** 2
        score = torch.empty_like(square)
        score[order] = square / square.flip(0).cumsum(0).flip(0).clamp(min=1e-30)
        scores.append(score)
    parts = largest(torch.cat(scores), sparsity).split([len(score) for score in scores])
    return {key: part.view_as(weight) for (key, weight), part in zip(weights.items(), parts)}


def largest(score: Tensor, sparsity: float) -> Tensor:
    """1 where the score is among the largest, 0 for the part ``sparsity`` of the smallest."""
    mask = torch.zeros(score.numel())
    kept = score.numel() - round(sparsity * score.numel())
    mask[score.flatten().argsort(descending=True, stable=True)[:kept]] = 1
    return mask.view_as(score)


@contextmanager
def dropped(model: nn.Module, part: float) -> Iterator[None]:
    """Inside, a part of the outputs of every activation with more than NARROW channels is dropped while training."""

    def drop(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return F.dropout(output, part, module.training) if output.shape[1] > NARROW else output

    hooks = [m.register_forward_hook(drop) for m in model.modules() if isinstance(m, nn.ReLU | nn.PReLU) and part > 0]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def fit(model: nn.Module, data: Data, recipe: Recipe, tell: Tell = lambda epoch, percent, loss: None) -> State:
    """Train in place; return the fp16-exact state of the best epoch on validation (by accuracy, then by loss).

    Where nothing is held out it is the last state, the average if there is one.
    """
    if recipe.orthogonal:
        torch.manual_seed(recipe.seed)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, nn.init.calculate_gain("leaky_relu", 0.25))
                nn.init.zeros_(module.bias)
    return _fit(model, data, recipe, False, tell)


def fit_sparse(model: nn.Module, data: Data, recipe: Recipe, tell: Tell = lambda epoch, percent, loss: None) -> State:
    """Prune a trained model to ``recipe.sparsity`` over the first half of the epochs, and fine-tune it.

    The part that is zero grows fast at first and slowly in the end (Zhu and Gupta, 2017); from the half on the masks
    stay, and the best epoch is one of those.
    """
    return _fit(model, data, recipe, True, tell)


def _fit(model: nn.Module, data: Data, recipe: Recipe, sparse: bool, tell: Tell) -> State:
    epochs, rate = recipe.epochs, recipe.rate
    torch.manual_seed(recipe.seed)  # for dropout
    random = Random().manual_seed(recipe.seed)
    parameters = dict(model.named_parameters())
    steps = math.ceil(len(data.order(Random().manual_seed(0))) / recipe.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, epochs * steps, pct_start=0.15, final_div_factor=1000
    )
    loss = loss_of(model)
    teacher = copy.deepcopy(model).eval() if sparse and recipe.teacher else None
    average, trial = copy.deepcopy(model), copy.deepcopy(model)
    masks: State = {}
    best: tuple[float, float] | None = None
    chosen: State = {}

    def apply_masks(network: nn.Module) -> None:
        weights = dict(network.named_parameters())
        with torch.no_grad():
            for key, mask in masks.items():
                weights[key].mul_(mask)

    for epoch in range(epochs):
        model.train()
        for step, index in enumerate(data.order(random).split(recipe.batch)):
            if sparse and step % max(1, steps // 4) == 0:
                progress = min(1.0, (epoch + step / steps + 0.25) / max(1, epochs // 2))
                if not masks or (epoch + step / steps) <= epochs // 2:
                    masks = magnitude_masks(model, recipe, recipe.sparsity * (1 - (1 - progress) ** 3))
                    apply_masks(model)
            x, wanted = data.batch(index, random), None
            with dropped(model, recipe.dropout):
                if recipe.mix:
                    other = torch.randperm(len(index), generator=random)
                    part = torch.rand(len(index), generator=random) * recipe.mix
                    x = torch.lerp(x, x[other], part.view(-1, *[1] * (x.ndim - 1)))
                found = model(x)
                wanted = one_hot(data.labels[index], found.shape[1])
                if recipe.mix:
                    wanted = torch.lerp(wanted, wanted[other], part[:, None])
                wanted = wanted * (1 - recipe.smoothing) + recipe.smoothing / found.shape[1]
                if teacher:
                    wanted = torch.lerp(wanted, answers(teacher, x), recipe.teacher)
                optimizer.zero_grad()
                loss(found, wanted).backward()
            optimizer.step()
            schedule.step()
            apply_masks(model)
            if recipe.average:
                with torch.no_grad():
                    for slow, fast in zip(average.parameters(), parameters.values()):
                        slow.lerp_(fast, recipe.average)
        candidates = [model, average] if recipe.average else [model]
        for candidate in candidates:
            if sparse and epoch < epochs // 2:
                break
            trial.load_state_dict(candidate.state_dict())
            apply_masks(trial)
            state = rounded(trial.state_dict())
            if data.validation is None:
                chosen = state
                continue
            trial.load_state_dict(state)
            percent, value = accuracy(trial, data.validation)
            if best is None or (percent, -value) > best:
                best, chosen = (percent, -value), state
        tell(epoch, *(best or (0.0, 0.0)))
    return chosen
