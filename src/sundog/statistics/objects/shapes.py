"""Brightness and shape of single centred objects, one number per image: what astronomers read off a cut-out."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.errors import OptionError
from sundog.statistics.samples.admission import checked_singles


def pixel_metrics(images: Tensor, *, low: float = 0.0, high: float = 1.0, n_bins: int = 4) -> dict[str, Tensor]:
    """Return the brightness metrics of each image, each (n,).

    "mean" and "sigma" of all pixels; "active_fraction", the share of pixels above ``low``; and for equal intensity bins
    between ``low`` (excluded) and ``high`` (included) "fraction_1" to "fraction_4", the share of pixels in each,
    "mean_1" ... and "sigma_1" ..., mean and standard deviation of those pixels (0 where a bin is empty).

    Parameters
    ----------
    images: (n, ny, nx); the published metrics scale each image to [0, 1] first.

    Errors: OptionError unless low < high.
    Source: Vicanek Martinez, Baron Perez & Brüggen 2024, A&A 691, A360; counts there are shares times ny nx here.

    Example
    -------
    >>> pixel_metrics(torch.tensor([[[0.0, 0.2], [0.0, 1.0]]]))["active_fraction"]
    tensor([0.5000])
    """
    x = checked_singles(images)
    if not low < high or n_bins < 1:
        raise OptionError("intensity range", got=f"{low} to {high} in {n_bins} bins", expected="low < high",
                          do="pass low=0.0, high=1.0, n_bins=4")  # fmt: skip
    flat = x.flatten(1)
    metrics = {"mean": flat.mean(1), "sigma": flat.std(1, unbiased=False)}
    metrics["active_fraction"] = (flat > low).to(x.dtype).mean(1)
    edges = [low + (high - low) * i / n_bins for i in range(n_bins)] + [high]
    inside = [((flat > a) & (flat <= b)).to(x.dtype) for a, b in zip(edges, edges[1:])]
    for i, chosen in enumerate(inside, 1):
        metrics[f"fraction_{i}"] = chosen.mean(1)
    for i, chosen in enumerate(inside, 1):
        count = chosen.sum(1).clamp_min(1.0)
        mean = (flat * chosen).sum(1) / count
        metrics[f"mean_{i}"] = mean
        metrics[f"sigma_{i}"] = (((flat - mean[:, None]) ** 2 * chosen).sum(1) / count).sqrt()
    return metrics


def shape_metrics(images: Tensor, *, centre: tuple[float, float] | None = None) -> dict[str, Tensor]:
    """Return the intensity-weighted shape of each image, each (n,).

    With weights w = max(x, 0) and positions measured from ``centre`` (y, x) in pixels, the middle of the image
    ((ny-1)/2, (nx-1)/2) unless another is given (the published code has (40, 40) for 80 x 80 pixels):
    "com_radius" (pixels) and "com_angle" (0-360 degrees, from +x towards +y) of the centre of mass;
    "elongation" = 2 (v - 1/2), v the share of variance along the main axis (0 round, 1 a line);
    "pca_angle" (0-180 degrees) of that axis; "scatter" = mean distance to the centre of mass (pixels).
    An image without positive pixels has all of them 0.

    Source: Vicanek Martinez, Baron Perez & Brüggen 2024, A&A 691, A360 (and its code).

    Example
    -------
    >>> bar = torch.zeros(1, 9, 9); bar[0, 4, 2:7] = 1.0
    >>> {name: round(value.item(), 3) for name, value in shape_metrics(bar).items()}
    {'com_radius': 0.0, 'com_angle': 0.0, 'elongation': 1.0, 'pca_angle': 0.0, 'scatter': 1.2}
    """
    x = checked_singles(images)
    w, pos_y, pos_x, com_y, com_x = _mass(x)
    d_y, d_x = pos_y - com_y[:, None], pos_x - com_x[:, None]
    if centre is not None:
        com_y = com_y + (x.shape[1] - 1) / 2 - centre[0]
        com_x = com_x + (x.shape[2] - 1) / 2 - centre[1]
    c_yy, c_xx, c_xy = ((w * a * b).sum(1) for a, b in ((d_y, d_y), (d_x, d_x), (d_x, d_y)))
    gap = torch.hypot(c_xx - c_yy, 2 * c_xy)  # difference of the two eigenvalues; their sum is the trace
    trace = c_xx + c_yy
    extended = trace > 1e-9
    angle = torch.rad2deg(torch.atan2(2 * c_xy, c_xx - c_yy)) / 2
    turned = torch.rad2deg(torch.atan2(com_y, com_x))
    return {
        "com_radius": torch.hypot(com_y, com_x),
        "com_angle": turned.remainder(360.0),
        "elongation": torch.where(extended, gap / torch.where(extended, trace, 1.0), 0.0),
        "pca_angle": torch.where(gap > 1e-9, angle.remainder(180.0), 0.0),
        "scatter": (w * torch.hypot(d_y, d_x)).sum(1),
    }


def gini(images: Tensor) -> Tensor:
    """Return the Gini coefficient of the pixels of each image: (n,), 0 for even light, 1 for a single bright pixel.

    G = sum_i (2i - n - 1) |x|_(i) / (<|x|> n (n - 1)), |x|_(i) in rising order; 0 for an empty image.

    Source: Lotz, Primack & Madau 2004, AJ 128, 163, eq. 6.

    Example
    -------
    >>> gini(torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]))
    tensor([1.])
    """
    return _gini(checked_singles(images).flatten(1).abs().sort(1).values)


def m20(images: Tensor) -> Tensor:
    """Return log10 of the second moment of the brightest 20 % of the light over the total: (n,), from -4 to 0.

    M20 = log10(sum_bright w r^2 / sum w r^2), w = max(x, 0), r from the centre of mass; brightest pixels first until
    they hold 20 % of the light. Ratios below 1e-4 count as 1e-4; an image without extent has M20 = 0.

    Source: Lotz, Primack & Madau 2004, AJ 128, 163, eq. 8 (there the centre minimises the total moment: the same).

    Example
    -------
    >>> m20(torch.ones(1, 9, 9)) < 0
    tensor([True])
    """
    w, pos_y, pos_x, com_y, com_x = _mass(checked_singles(images))
    square = (pos_y - com_y[:, None]) ** 2 + (pos_x - com_x[:, None]) ** 2
    bright, order = w.sort(1, descending=True)
    return _m20(bright, (w * square).gather(1, order))


def concentration(images: Tensor) -> Tensor:
    """Return C = 5 log10(r80 / r20): (n,), radii that hold 80 % and 20 % of the positive light.

    Radii from the centre of mass, read off a growth curve in pixel steps, and not below one pixel.

    Source: Conselice 2003, ApJS 147, 1, eq. 4 (there within 1.5 Petrosian radii; here the whole image).

    Example
    -------
    >>> concentration(torch.zeros(2, 9, 9))
    tensor([0., 0.])
    """
    w, pos_y, pos_x, com_y, com_x = _mass(checked_singles(images))
    return _concentration(w, torch.hypot(pos_y - com_y[:, None], pos_x - com_x[:, None]))


def asymmetry(images: Tensor) -> Tensor:
    """Return A = sum |x - x_180| / (2 sum |x|): (n,), x_180 turned by half about the image centre; 0 symmetric, 1 not.

    An empty image has A = 0. No background is subtracted.

    Source: Conselice, Bershady & Jangren 2000, ApJ 529, 886, eq. 9 (without the search for the centre).

    Example
    -------
    >>> asymmetry(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
    tensor([1.])
    """
    x = checked_singles(images)
    light = x.abs().sum((1, 2))
    difference = (x - x.flip((1, 2))).abs().sum((1, 2))
    return torch.where(light > 0, difference / (2 * torch.where(light > 0, light, 1.0)), 0.0)


def shape_features(images: Tensor) -> dict[str, Tensor]:
    """Return elongation, its two components, centre of mass, scatter, Gini, M20, concentration, asymmetry: each (n,).

    The angles of `shape_metrics` jump at 0 and 180 degrees; here they enter as vectors - ellipticity
    e1 = elongation cos 2a, e2 = elongation sin 2a, and the centre of mass (x, y) in pixels - so that distributions
    can be compared. One sort serves Gini and M20.

    Example
    -------
    >>> sorted(shape_features(torch.zeros(1, 4, 4)))[:3]
    ['asymmetry', 'com_radius', 'com_x']
    """
    x = checked_singles(images)
    shape = shape_metrics(x)
    w, pos_y, pos_x, com_y, com_x = _mass(x)
    radius = torch.hypot(pos_y - com_y[:, None], pos_x - com_x[:, None])
    bright, order = w.sort(1, descending=True)
    double_angle = 2 * torch.deg2rad(shape["pca_angle"])
    return {
        "com_x": com_x,
        "com_y": com_y,
        "com_radius": shape["com_radius"],
        "elongation": shape["elongation"],
        "e1": shape["elongation"] * torch.cos(double_angle),
        "e2": shape["elongation"] * torch.sin(double_angle),
        "scatter": shape["scatter"],
        "gini": _gini(bright.flip(1)) if bool((x >= 0).all()) else gini(x),
        "m20": _m20(bright, (w * radius.square()).gather(1, order)),
        "concentration": _concentration(w, radius),
        "asymmetry": asymmetry(x),
    }


def _mass(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Positive light that adds up to one (n, p), pixel positions from the image centre (p,), centre of mass (n,)."""
    w = x.flatten(1).clamp_min(0)
    total = w.sum(1, keepdim=True)
    w = w / torch.where(total > 0, total, 1.0)
    ny, nx = x.shape[1:]
    y = (torch.arange(ny) - (ny - 1) / 2).to(x)[:, None].expand(ny, nx).flatten()
    z = (torch.arange(nx) - (nx - 1) / 2).to(x)[None, :].expand(ny, nx).flatten()
    com_y, com_x = w @ y, w @ z
    # A symmetric source must read 0, not the rounding of its sum: its angle would be noise.
    tiny = 1e3 * torch.finfo(x.dtype).eps
    return w, y, z, torch.where(com_y.abs() > tiny, com_y, 0.0), torch.where(com_x.abs() > tiny, com_x, 0.0)


def _gini(rising: Tensor) -> Tensor:
    n = rising.shape[1]
    rank = 2 * torch.arange(1, n + 1).to(rising) - n - 1
    total = rising.sum(1) * max(n - 1, 1)
    return torch.where(total > 0, (rising @ rank) / torch.where(total > 0, total, 1.0), 0.0)


def _m20(bright: Tensor, moment: Tensor) -> Tensor:
    """``bright``: light in falling order; ``moment``: w r^2 in the same order."""
    before = bright.cumsum(1) - bright
    chosen = (moment * (before < 0.2)).sum(1)
    total = moment.sum(1)
    extended = total > 1e-9
    return torch.log10((chosen / torch.where(extended, total, 1.0)).clamp(1e-4, 1.0)).where(
        extended, torch.zeros_like(total)
    )


def _concentration(w: Tensor, radius: Tensor) -> Tensor:
    # Each pixel's light is spread over one pixel of radius: a growth curve of points is ragged at small radii.
    inner = (radius - 0.5).clamp_min(0.0)
    ring = inner.long()
    outer_share = inner - ring
    empty = torch.zeros(len(w), int(ring.max()) + 2, dtype=w.dtype, device=w.device)
    light = empty.scatter_add(1, ring, w * (1 - outer_share)).scatter_add(1, ring + 1, w * outer_share)
    growth = light.cumsum(1)
    r20, r80 = (_crossing(growth, share).clamp_min(1.0) for share in (0.2, 0.8))
    return torch.where(growth[:, -1] > 0, 5 * torch.log10(r80 / r20), 0.0)


def _crossing(growth: Tensor, share: float) -> Tensor:
    """Where the growth curve, which is 0 at radius 0, reaches a share: in ring widths, by linear interpolation."""
    above = (growth < share).sum(1, keepdim=True).clamp_max(growth.shape[1] - 1)
    high = growth.gather(1, above)
    low = torch.where(above > 0, growth.gather(1, (above - 1).clamp_min(0)), torch.zeros_like(high))
    part = (share - low) / torch.where(high > low, high - low, torch.ones_like(high))
    return (above + part.clamp(0, 1))[:, 0]
