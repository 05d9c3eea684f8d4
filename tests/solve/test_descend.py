"""Descents on losses whose minimum is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sundog.errors import OptionError, TrainingError
from sundog.solve.descend import Descent, Loss, descend
from sundog.solve.together import _upper_guess, descend_rows


def valley(x: Tensor) -> Tensor:
    """Rosenbrock's function, minimum 0 at (1, ..., 1)."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_finds_the_bottom_of_a_curved_valley() -> None:
    result = descend(valley, torch.full((6,), -1.2, dtype=torch.float64), iterations=300)
    assert (result.x - 1).abs().max() < 1e-4
    short = descend(valley, torch.full((6,), -1.2, dtype=torch.float64), iterations=5)
    assert (short.x - 1).abs().max() > 0.1
    assert (short.iterations, short.reason) == (5, "iterations")


def test_quadratic_of_many_scales_in_float32_keeps_its_shape() -> None:
    scale = torch.logspace(0, 2, 60).reshape(3, 20)
    result = descend(lambda x: (scale * (x - 2) ** 2).sum(), torch.zeros(3, 20), iterations=200)
    assert result.x.dtype == torch.float32
    assert (result.x - 2).abs().max() < 1e-2
    assert result.losses == sorted(result.losses, reverse=True)


def test_budget_target_and_progress() -> None:
    seen: list[tuple[int, float]] = []
    quadratic = lambda x: (x**2).sum()  # noqa: E731
    start = torch.ones(10)
    hit = descend(valley, torch.zeros(10), target=1.0, progress=lambda i, f: seen.append((i, f)))
    assert hit.reason == "target"
    assert hit.loss <= 1.0
    assert [i for i, _ in seen] == list(range(1, hit.iterations + 1))
    timed = descend(valley, torch.full((500,), -1.2), iterations=10_000, seconds=1e-6)
    assert timed.reason == "seconds"
    assert timed.evaluations <= 2
    for empty in ({"iterations": 0}, {"seconds": 0.0}):
        with pytest.raises(OptionError):
            descend(quadratic, start, **empty)


def test_a_loss_that_is_not_finite_is_named_at_the_start_and_survived_later() -> None:
    with pytest.raises(TrainingError):
        descend(lambda x: x.log().sum(), torch.zeros(3))
    wall = descend(lambda x: (x - 3 * x.log()).sum(), torch.full((4,), 0.05, dtype=torch.float64))
    assert (wall.x - 3).abs().max() < 1e-3


class Uphill(torch.autograd.Function):
    """The sum of squares with the sign of its gradient turned: what the slope promises never comes."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square().sum()

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        return -2 * ctx.saved_tensors[0] * slope


def cliff(x: Tensor) -> Tensor:
    """Finite at the start alone."""
    return torch.where((x == 1).all(), x.sum(), torch.nan)


def alone(loss: Loss, start: Tensor, **budget: float) -> Descent:
    return descend(loss, start, **budget)  # type: ignore[arg-type]


def together(loss: Loss, start: Tensor, **budget: float) -> Descent:
    def losses(x: Tensor, rows: Tensor) -> Tensor:
        return torch.stack([loss(row) for row in x])

    return descend_rows(losses, start[None], **budget)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("search", [alone, together])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("loss", "budget", "reason"), [
    (lambda x: (x - 3).square().sum(), {"iterations": 100}, "converged"),
    (lambda x: 5 + ((torch.arange(1, 11).to(x)) * (x - 3).square()).sum(), {"iterations": 100}, "converged"),
    (Uphill.apply, {"iterations": 100}, "line search"),
    (Uphill.apply, {"iterations": 1}, "line search"),
    (cliff, {"iterations": 100}, "line search"),
    (valley, {"iterations": 3}, "iterations"),
    (valley, {"iterations": 100, "seconds": 1e-9}, "seconds"),
    (valley, {"iterations": 100, "target": 500.0}, "target"),
])
def test_the_reason_is_the_true_one(search, dtype, loss, budget, reason) -> None:
    start = torch.ones(10, dtype=dtype) if loss in (Uphill.apply, cliff) else torch.full((10,), -1.2, dtype=dtype)
    found = search(loss, start, **budget)
    assert found.reason == reason
    if reason == "line search":
        assert torch.equal(found.x, start)


def test_each_row_has_its_own_reason() -> None:
    goal = torch.tensor([[1.0], [5.0]])

    def losses(x: Tensor, rows: Tensor) -> Tensor:
        right = (x - goal[rows]).square().sum(1)
        return torch.where(rows == 0, right, 2 * right.detach() - right)

    assert [d.reason for d in descend_rows(losses, torch.zeros(2, 4))] == ["converged", "line search"]


def test_the_next_step_goes_where_the_slope_would_vanish() -> None:
    """From 0 to 1: slopes -1 and -0.2 meet zero at 1.25, kept above 1.5; -0.75 at 4; a slope that does not rise: 10."""
    rise = torch.tensor([-0.2, -0.75, -0.999, -1.0, -3.0])
    one = torch.ones(5)
    assert torch.allclose(_upper_guess(0 * one, -one, one, rise, torch.inf * one), torch.tensor([1.5, 4, 10, 10, 10]))
    assert torch.allclose(_upper_guess(0 * one, -one, one, rise, 11 * one), torch.tensor([2.0, 4, 7, 7, 7]))
