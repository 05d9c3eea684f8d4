"""The small transformer: masks, permutations, both families that take it."""

import warnings

import pytest
import torch

import sundog
from sundog import Dataset, Plan, fit
from sundog.data.series.layout import whole_series
from sundog.errors import DataError, OptionError
from sundog.nets.transformer import Transformer


def net(reach, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Transformer(3, 2, context_dim=1, parameters=1e4, reach=reach, **options).double()
        for p in made.parameters():
            p.data += 0.2 * torch.randn_like(p)
    return made


def given(n=4, length=6):
    g = torch.Generator().manual_seed(1)
    return (torch.randn(n, 3, 1, length, generator=g, dtype=torch.float64),
            torch.rand(n, 1, generator=g, dtype=torch.float64), torch.randn(n, 1, generator=g, dtype=torch.float64))


def test_without_positions_it_is_equivariant_and_with_them_it_is_not():
    x, t, c = given()
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    blind, seeing = net(0), net(8)
    torch.testing.assert_close(blind(x, t, c)[..., order], blind(x[..., order], t, c))
    assert not torch.allclose(seeing(x, t, c)[..., order], seeing(x[..., order], t, c), atol=1e-3)


@pytest.mark.parametrize("reach", [0, 8])
def test_padding_is_neither_seen_nor_answered(reach):
    x, t, c = given()
    made, mask = net(reach), (torch.arange(6) < 4).expand(4, 6)
    other = x.clone()
    other[..., 4:] = 7.0
    torch.testing.assert_close(made(x, t, c, mask), made(other, t, c, mask))
    torch.testing.assert_close(made(x, t, c, mask)[..., :4], made(x[..., :4], t, c))
    assert (made(x, t, c, mask)[..., 4:] == 0).all()
    assert not torch.allclose(made(x, t, c)[..., :4], made(x[..., :4], t, c), atol=1e-3)  # control: no mask


def test_without_attention_tokens_know_nothing_of_each_other():
    x, t, c = given()
    other = x.clone()
    other[..., 1:] += 1
    alone = net(0, attention=False)
    torch.testing.assert_close(alone(x, t, c)[..., 0], alone(other, t, c)[..., 0])
    assert not torch.allclose(net(0)(x, t, c)[..., 0], net(0)(other, t, c)[..., 0], atol=1e-3)


@pytest.mark.parametrize("family", ["flow-matching", "diffusion"])
def test_series_are_fitted_with_it(family, tmp_path):
    x = torch.randn(60, 16, generator=torch.Generator().manual_seed(0)).cumsum(1)
    data = Dataset.from_arrays(x, time_step=1.0)
    run = fit(family, data, plan=Plan(steps=3), network="transformer", parameters=5e3, out=tmp_path / "run")
    assert torch.equal(run.sample(4, seed=1).values, sundog.load_run(tmp_path / "run").sample(4, seed=1).values)
    with pytest.raises(OptionError, match="does not fit the data"):
        fit(family, torch.randn(60, 8, 8), plan=Plan(steps=3), network="transformer")


def jets(n, seed, most=8):
    """Sets of 2 to 8 particles (log pt, eta, phi) about an axis of their own: only together do they know where."""
    g = torch.Generator().manual_seed(seed)
    axis, size = torch.randn(n, 1, 2, generator=g), torch.randint(2, most + 1, (n,), generator=g)
    x = torch.cat([0.5 * torch.randn(n, most, 1, generator=g) + 1,
                   axis + 0.2 * torch.randn(n, most, 2, generator=g)], 2)
    return x * (torch.arange(most) < size[:, None])[..., None], size


def test_sets_keep_zeros_for_what_is_not_there():
    x, size = jets(300, 0)
    run = fit("sets", Dataset.from_arrays(x, time_step=1.0), plan=Plan(steps=3), parameters=5e3)
    fakes = run.sample(400, seed=0).values
    there = (fakes != 0).any(2)
    assert bool((there.int().diff(dim=1) <= 0).all())  # padding stands last
    count = there.sum(1)
    assert int(count.min()) >= 2 and abs(float(count.double().mean()) - 5) < 4 * 2 / 400**0.5 + 0.4
    loss = run.model._mismatch
    z = x.transpose(1, 2)[:, :, None]
    noise, t = torch.randn(z.shape, generator=torch.Generator().manual_seed(1)), torch.full((300, 1), 0.5)
    longer = torch.cat([z, torch.zeros(300, 3, 1, 4)], 3)
    more = torch.cat([noise, torch.full((300, 3, 1, 4), 9.0)], 3)
    torch.testing.assert_close(loss(z, noise, t), loss(longer, more, t))  # padding changes nothing
    assert int((size == 8).sum()) > 0


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: torch.cat([x[:90], 0 * x[90:]]), r"no event without particles: got 10 of 100"),
    (lambda x: torch.where(x == 0, torch.nan, x), "rows of zeros where no particle is"),
    (lambda x: torch.cat([x[..., :2], (x[..., 2:] != 0).float() * 0], 2), "particles do not vary")])
def test_sets_say_what_they_miss(change, words):
    x = change(jets(100, 0)[0])
    with pytest.raises(DataError, match=words):
        fit("sets", Dataset.from_arrays(x, time_step=1.0, held_out_fraction=0.0), plan=Plan(steps=3), parameters=5e3)
    with pytest.raises(OptionError, match="come with a time step"):
        fit("sets", jets(100, 0)[0], plan=Plan(steps=3))


def test_padding_is_not_taken_for_values_in_silence():
    with pytest.warns(UserWarning, match="of 100 series end in them.*family 'sets'"):
        whole_series(Dataset.from_arrays(jets(100, 0)[0], time_step=1.0), "the judge")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rain = torch.randn(100, 30, 1, generator=torch.Generator().manual_seed(0)).clamp(min=-0.3) + 0.3
        for quiet in (jets(100, 0)[0] + 0.1, rain.repeat(1, 1, 2)):
            whole_series(Dataset.from_arrays(quiet, time_step=1.0), "the judge")


@pytest.mark.slow
def test_particles_of_a_set_share_their_axis_with_attention_and_not_without():
    """Scatter about the mean of the set: 0.2 sqrt(1 - 1/k) in truth, that of all particles (1.02) without attention."""
    x, _ = jets(4000, 0)
    found = {}
    for attention in (True, False):
        run = fit("sets", Dataset.from_arrays(x, time_step=1.0), plan=Plan(steps=700, batch=128), parameters=3e4,
                  attention=attention)
        fakes = run.sample(500, seed=1).values
        there = (fakes != 0).any(2)
        k = there.sum(1, keepdim=True)
        eta = fakes[..., 1]
        mean = eta.sum(1, keepdim=True) / k
        found[attention] = float((((eta - mean) * there).square().sum(1) / (k[:, 0] - 1)).mean().sqrt())
    assert found[True] < 0.35 and found[False] > 0.8, found
