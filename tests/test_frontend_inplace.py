"""In-place operators: the quick way where it is safe, torch's own where a tensor is seen under another name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from genn import frontend, functional
from genn.errors import ModelError
from tests.networks import Fn, compile_and_compare, conv

SHAPE = (1, 4, 5, 6)


def residual(m: Any, x: torch.Tensor) -> torch.Tensor:
    out = m.c(x)
    out += x
    return F.relu(out, inplace=True)


def unread(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    before = y * 2
    y.relu_()
    y.add_(1)
    return before, y, y * 3


def two_names(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    z = y.relu_()
    y.mul_(0.5)
    return z + 1, y


def between(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    a = y.sum(1)
    y.sub_(2)
    b = y.sum(1)
    return a, b, torch.cat([y, y], 1)


def computed_constant(m: Any, x: torch.Tensor) -> Any:
    k = torch.ones(6) * 2
    k.add_(m.c.bias.sum())
    return x * k


def a_view_before(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    v = y.flatten(1)
    y.relu_()
    return v + 1


def a_part(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    a, b = y.chunk(2, 1)
    a.relu_()
    return y, b


def through_contiguous(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    z = y.contiguous().float()
    z.clamp_(-0.5, 0.5)
    return y


def the_input(m: Any, x: torch.Tensor) -> Any:
    x.relu_()
    return m.c(x)


def a_slice_assigned(m: Any, x: torch.Tensor) -> Any:
    y = m.c(x)
    y[:, 1:3].mul_(3)
    return y


def dropout(m: Any, x: torch.Tensor) -> Any:
    return F.dropout(m.c(x).flatten(1), 0.5, False, inplace=True) + 1


RENAMED = [residual, unread, two_names, between, computed_constant, dropout]
BY_TORCH = [a_view_before, through_contiguous, the_input]


@pytest.mark.parametrize("forward", [*RENAMED, *BY_TORCH], ids=lambda f: f.__name__)
def test_the_values_are_those_after_the_change(forward: Any) -> None:
    module = Fn(forward, c=conv(4, 4))
    made = functional.by_renaming(frontend.trace(module.eval(), torch.ones(SHAPE)))
    assert (made is not None) == (forward in RENAMED)
    compile_and_compare(module, SHAPE)


@pytest.mark.parametrize("forward", [a_part, a_slice_assigned], ids=lambda f: f.__name__)
def test_what_torch_writes_back_with_an_operator_we_lack_is_refused(forward: Any) -> None:
    with pytest.raises(ModelError, match=r"aten\.slice_scatter"):
        frontend.import_graph(frontend.trace(Fn(forward, c=conv(4, 4)), torch.ones(SHAPE)), "net")


def test_a_view_after_the_last_change_is_no_hindrance() -> None:
    module = Fn(lambda m, x: F.relu(m.c(x), inplace=True).flatten(1), c=conv(4, 4))
    assert functional.by_renaming(frontend.trace(module, torch.ones(SHAPE))) is not None
    compile_and_compare(module, SHAPE)


def test_names_of_the_signature_stay() -> None:
    class Net(torch.nn.Module):
        def forward(self, input: torch.Tensor, id: torch.Tensor) -> torch.Tensor:
            return (input * 2).relu_() + id

    exported = frontend.trace(Net(), (torch.ones(1, 2), torch.ones(1, 2)))
    made = functional.by_renaming(exported)
    assert made is not None
    assert [n.name for n in made.graph.nodes] == [n.name for n in exported.graph.nodes]
