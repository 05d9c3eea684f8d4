"""Scalings: invertible maps x -> z between physical units and the numbers a network likes, with log|det J|.

Every scaling acts on one number at a time, z_i = f_j(x_i), with parameters j per feature (events), per channel
(n, c, ny, nx) or one for all pixels (n, ny, nx). The Jacobian is therefore diagonal and

    log|det dz/dx| = sum_i log|f_j'(x_i)|,      log p_x(x) = log p_z(f(x)) + log|det dz/dx|.

Accuracy. All arithmetic is float64; the result has the type of the input. With eps the spacing of that type
(1.2e-7 for float32), ``inverse(forward(x))`` differs from x by at most

    eps (|x| + |z| |dx/dz|) + 3e-14 max|x|

inside the support: the rounding of x, that of z (no code that stores z in that type does better), and the
float64 arithmetic itself. The support is the whole line except for ``ClippedLogit``, ``ScaledTanh``
and ``ByKind``, whose inverse moreover rounds.
For ``NormalScores`` |dx/dz| is the largest between the two knots, not that at x.
"""

from __future__ import annotations

from sundog.data.scaling.chain import Chain, default_scaling, inputs_from_json, named_scaling, scaling_from_json
from sundog.data.scaling.contract import Scaling
from sundog.data.scaling.curved import Asinh, ClippedLogit, LogModulus, ScaledTanh
from sundog.data.scaling.formulas import Formula, Reparametrised
from sundog.data.scaling.kinds import ByKind
from sundog.data.scaling.linear import Identity, MinMaxPerImage, MinMaxPerSet, Standard
from sundog.data.scaling.scores import NormalScores

__all__ = [
    "Asinh",
    "ByKind",
    "Chain",
    "ClippedLogit",
    "Formula",
    "Identity",
    "LogModulus",
    "MinMaxPerImage",
    "MinMaxPerSet",
    "NormalScores",
    "Reparametrised",
    "ScaledTanh",
    "Scaling",
    "Standard",
    "default_scaling",
    "inputs_from_json",
    "named_scaling",
    "scaling_from_json",
]
