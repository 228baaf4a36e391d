"""N:M pruning: at most N of every M neighbouring weights are kept; the converter stores them as pairs."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from genn.errors import UsageError


def largest(weight: Tensor, n: int, m: int) -> Tensor:
    """1 for the ``n`` of largest magnitude of every ``m`` neighbours of a row of ``weight`` (O, K), else 0.

    A row's last group may be shorter; of equal magnitudes the first is kept.
    """
    rows, columns = weight.shape
    parts = nn.functional.pad(weight.detach().abs(), (0, -columns % m), value=-1.0).reshape(rows, -1, m)
    order = parts.argsort(dim=2, descending=True, stable=True)[..., :n]
    return torch.zeros_like(parts).scatter_(2, order, 1.0).reshape(rows, -1)[:, :columns].contiguous()


def prune(model: nn.Module, pattern: str = "1:4") -> dict[str, Tensor]:
    """Zero all but the N largest of every M neighbouring weights of each ``nn.Linear``, in place.

    pattern: ``"N:M"``; the converter knows 2:4, 1:4 and 1:8.
    Returns each weight's mask by its name in ``model.named_parameters()``: to fine-tune, multiply the weights by their
    masks after every step of the optimizer.
    Raises UsageError for a pattern that is none.
    """
    found = re.fullmatch(r"([1-9]\d{0,3}):([1-9]\d{0,3})", pattern)
    if not found or int(found[1]) >= int(found[2]):
        raise UsageError(f"there is no pruning pattern {pattern!r}", "prune", "name one as N:M with N below M, as 1:4")
    masks = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            mask = largest(module.weight, int(found[1]), int(found[2]))
            with torch.no_grad():
                module.weight.mul_(mask)
            masks[f"{name}.weight".lstrip(".")] = mask
    return masks
