"""Kernels of neural networks: the tangent kernel of wide ones in closed form, of any one by its gradients.

Source: Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572); numerical span dimension: arXiv 2409.16697.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from sundog.checks import at_least, positive
from sundog.errors import ShapeError


def ntk(x: Tensor, y: Tensor, depth: int = 2) -> Tensor:
    """Tangent kernel (n, m) of an infinitely wide ReLU network with ``depth`` layers of weights and no biases.

        S_1 = <x, y>,                           T_1 = S_1
        S_{l+1} = |x||y|_l (sin t + (pi - t) cos t) / 2 pi,    cos t = S_l / |x||y|_l
        T_{l+1} = S_{l+1} + T_l (pi - t) / 2 pi

    with |x||y|_l = |x||y| / 2^{l-1}: weights of variance 1 / (width of the layer before), as in the paper. On the
    diagonal T = depth |x|^2 / 2^{depth - 1}; depth 1 is the linear kernel.

    Parameters
    ----------
    x, y : (n, d) and (m, d) inputs
    depth : layers of weights, one more than hidden layers

    Raises
    ------
    ShapeError : inputs of other widths.

    Source: Jacot et al. 2018, section 4 and appendix A.

    Example
    -------
    >>> ntk(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]]), depth=2)
    tensor([[2.0000, 0.1592]])
    """
    at_least(depth, 1, "depth")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ShapeError("the inputs of a kernel do not fit", got=f"{tuple(x.shape)} and {tuple(y.shape)}",
                         expected="(n, d) and (m, d)", do="pass rows of the same width")
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    sigma = x @ y.T
    theta = sigma
    for _ in range(depth - 1):
        cosine = torch.where(lengths > 0, sigma / lengths.clamp(min=1e-300 if x.dtype == torch.float64 else 1e-30), 0.0)
        cosine = cosine.clamp(-1, 1)
        angle = cosine.arccos()
        sigma = lengths * (angle.sin() + (math.pi - angle) * cosine) / (2 * math.pi)
        theta = sigma + theta * (math.pi - angle) / (2 * math.pi)
        lengths = lengths / 2
    return theta


def empirical_ntk(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Tangent kernel (n, m) of a network as it is: inner products of its gradients, averaged over its outputs.

        T(x, y) = 1/o sum_k <d f_k(x) / d w, d f_k(y) / d w>

    Parameters
    ----------
    model : takes rows (n, d), gives (n, o)
    x, y : (n, d) and (m, d)

    Example
    -------
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> empirical_ntk(nn.Linear(2, 3, bias=False), x, x)
    tensor([[5.]])
    """
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def output(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(model, weights, (row[None],))[0]

    def gradients(rows: Tensor) -> list[Tensor]:
        found = vmap(jacrev(output), (None, 0))(weights, rows)
        return [part.flatten(2) for part in found.values()]

    left, right = gradients(x), gradients(y)
    return sum(torch.einsum("nop,mop->nm", a, b) for a, b in zip(left, right)) / left[0].shape[1]  # type: ignore[return-value]


def numerical_span_dimension(features: Tensor, eps: float = 1e-10) -> int:
    """How many functions a set of features spans, to a tolerance: the singular values above ``eps`` times the largest.

    With features of bounded weights and an analytic activation it stops growing with their number: no width makes up
    for a bandwidth that is too small.

    Parameters
    ----------
    features : (points, count), e.g. the last hidden layer of a network on a grid of inputs
    eps : tolerance, relative

    Source: arXiv 2409.16697.

    Example
    -------
    >>> x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    >>> numerical_span_dimension((x * torch.randn(1, 30).double() + torch.randn(30)) ** 3)      # all cubics: 4
    4
    """
    positive(eps, "eps")
    if features.ndim != 2:
        raise ShapeError("features are not a matrix", got=tuple(features.shape), expected="(points, count)",
                         do="evaluate the features on a grid of points, one row per point")
    values = torch.linalg.svdvals(features.detach().double())
    return int((values > eps * values[0]).sum())
