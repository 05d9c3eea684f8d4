"""Attention with relative positions: the laws of both layers, with controls that must fail."""

import math

import pytest
import torch
from torch.nn import functional as F

from sundog.errors import OptionError, ShapeError
from sundog.nets.attention import RelativePositionAttention, UniversalRPEAttention

LAYERS = [RelativePositionAttention, UniversalRPEAttention]
DOUBLE = torch.float64


def layer(kind, learnt=True, seed=0, **options):
    """A layer of 12 channels in double, its b and c away from their start unless asked not to be."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = kind(12, 3, **{"reach": 6, **options}).double()
        for parameter in (made.bias, *([made.gain] if hasattr(made, "gain") else [])) if learnt else ():
            parameter.data += torch.randn_like(parameter)
    return made


def tokens(n=2, length=9, seed=1):
    return torch.randn(n, length, 12, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.parametrize("causal", [False, True])
def test_universal_with_gain_one_is_softmax_attention_to_the_last_bit(causal):
    universal = layer(UniversalRPEAttention, learnt=False, causal=causal)
    plain = layer(RelativePositionAttention, causal=causal)
    universal.load_state_dict({**universal.state_dict(), **plain.state_dict()})
    x, mask = tokens(), torch.arange(9) < torch.tensor([[9], [5]])
    assert torch.equal(universal(x, mask), plain(x, mask))
    universal.gain.data[:, 7] = 1.1  # of the neighbour before
    assert not torch.equal(universal(x, mask), plain(x, mask))


@pytest.mark.parametrize("kind", LAYERS)
def test_at_the_start_it_is_the_attention_of_torch(kind):
    made, x = layer(kind, learnt=False), tokens()
    q, k, v = made.qkv(x).reshape(2, 9, 3, 3, 4).permute(2, 0, 3, 1, 4)
    known = made.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 9, 12))
    assert torch.allclose(made(x), known, atol=1e-13)


def test_the_formula_written_out():
    made, x = layer(UniversalRPEAttention, reach=3), tokens(n=1, length=8)
    q, k, v = (part.reshape(8, 3, 4) for part in made.qkv(x[0]).chunk(3, -1))
    rows = []
    for i in range(8):
        heads = []
        for h in range(3):
            apart = [max(-3, min(3, i - j)) + 3 for j in range(8)]
            scores = torch.stack([q[i, h] @ k[j, h] / 2 + made.bias[h, apart[j]] for j in range(8)])
            weights = scores.softmax(0) * torch.stack([made.gain[h, a] for a in apart])
            heads.append(sum(weights[j] * v[j, h] for j in range(8)))
        rows.append(torch.cat(heads))
    assert torch.allclose(made(x)[0], made.out(torch.stack(rows)), atol=1e-13)


def test_equal_tokens_separate_with_the_universal_layer_and_not_without():
    x = tokens(1, 1).expand(1, 9, 12)
    spread = {kind: float(layer(kind)(x).std(1).max().detach()) for kind in LAYERS}
    assert spread[RelativePositionAttention] < 1e-12
    assert spread[UniversalRPEAttention] > 0.01


@pytest.mark.parametrize("kind", LAYERS)
def test_without_positions_it_is_equivariant_under_permutations(kind):
    x, order = tokens(), torch.randperm(9, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    blind, seeing = layer(kind, reach=0), layer(kind)
    assert torch.allclose(blind(x, mask)[:, order], blind(x[:, order], mask[:, order]), atol=1e-12)
    assert not torch.allclose(seeing(x)[:, order], seeing(x[:, order]), atol=1e-3)  # negative control


@pytest.mark.parametrize("kind", LAYERS)
def test_only_distances_count(kind):
    """The same tokens at another offset of a masked buffer give the same outputs; padding is silent."""
    made, x = layer(kind), tokens(2, 5)
    first, later = torch.randn(2, 2, 12, 12, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    first[:, :5], later[:, 4:9] = x, x
    later[0, 11] = math.nan
    place = torch.arange(12)
    at_first, at_later = ((place >= a) & (place < a + 5) for a in (0, 4))
    outputs = [made(buffer, mask.expand(2, 12)) for buffer, mask in ((first, at_first), (later, at_later))]
    assert torch.allclose(outputs[0][:, :5], made(x), atol=1e-12)
    assert torch.allclose(outputs[1][:, 4:9], made(x), atol=1e-12)
    assert (outputs[1][:, ~at_later] == 0).all()
    assert not torch.allclose(made(first)[:, :5], made(x), atol=1e-3)  # negative control: padding taken for tokens


@pytest.mark.parametrize("kind", LAYERS)
def test_the_future_is_hidden_where_asked(kind):
    made, x = layer(kind, causal=True), tokens()
    changed = x.clone()
    changed[:, 6:] += 1
    assert torch.equal(made(x)[:, :6], made(changed)[:, :6])
    assert not torch.allclose(made(x)[:, 6:], made(changed)[:, 6:])
    free = layer(kind)
    assert not torch.allclose(free(x)[:, :6], free(changed)[:, :6])


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_right_and_finite_with_a_row_of_padding(kind):
    made, x = layer(kind, reach=2), tokens(2, 4).requires_grad_()
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    assert torch.autograd.gradcheck(lambda x, *_: made(x, mask), (x, *made.parameters()))
    made(x, mask).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())
    assert (x.grad[1] == 0).all()


@pytest.mark.parametrize(("kind", "learns"), [(RelativePositionAttention, False), (UniversalRPEAttention, True)])
def test_positions_of_equal_tokens_are_learnt_by_the_universal_layer_alone(kind, learns):
    """Say which of 16 places each of 16 equal tokens has: at chance, 1/16, without C."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.ModuleList([kind(32, 4, reach=16), kind(32, 4, reach=16), torch.nn.Linear(32, 16)])
        start = torch.randn(1, 1, 32).expand(1, 16, 32)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(300):
        h = start + net[0](start)
        logits = net[2](h + net[1](h))[0]
        loss = F.cross_entropy(logits, torch.arange(16))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = float((logits.argmax(-1) == torch.arange(16)).float().mean())
    assert right == 1.0 if learns else right <= 1 / 16
    assert learns or loss.item() > math.log(16) - 1e-3


@pytest.mark.parametrize("kind", LAYERS)
def test_pieces_change_nothing(kind, monkeypatch):
    made, x = layer(kind), tokens(5)
    mask = torch.arange(9) < torch.tensor([[9], [5], [1], [0], [7]])
    whole = made(x, mask)
    monkeypatch.setattr("sundog.nets.attention._CACHED", 2 * 3 * 81)  # two rows at once
    assert torch.allclose(made(x, mask), whole, atol=1e-13)


def test_bad_input_is_refused_by_name():
    with pytest.raises(OptionError, match="divide"):
        RelativePositionAttention(10, 4)
    with pytest.raises(OptionError, match="reach"):
        UniversalRPEAttention(8, 4, reach=-1)
    made = layer(UniversalRPEAttention)
    with pytest.raises(ShapeError, match="tokens"):
        made(torch.zeros(3, 12))
    with pytest.raises(ShapeError, match="mask"):
        made(tokens(), torch.ones(2, 9))
    with pytest.raises(ShapeError, match="mask"):
        made(tokens(), torch.ones(2, 8, dtype=torch.bool))


class Reverser(torch.nn.Module):
    """One layer of attention and one hidden layer; positions are added to the tokens where ``places`` asks so."""

    def __init__(self, places, width):
        super().__init__()
        self.lift = torch.nn.Linear(1, 32)
        self.place = torch.nn.Parameter(0.5 * torch.randn(8, 32) * places)
        self.place.requires_grad_(places)
        self.attention = UniversalRPEAttention(32, 4, reach=8 if places else 0)
        self.net = torch.nn.Sequential(torch.nn.Linear(32, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

    def forward(self, x):
        h = self.lift(x) + self.place
        return self.net(h + self.attention(h))


def worst_after(places, width, law, steps):
    """Largest error on 1,000 new sequences of 8 numbers, of a net trained on as many as it likes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Reverser(places, width)
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
        for _ in range(steps):
            x = 2 * torch.rand(64, 8, 1) - 1
            loss = (net(x) - law(x)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        x = 2 * torch.rand(1000, 8, 1) - 1
    return float((net(x) - law(x)).abs().max().detach())


@pytest.mark.slow
@pytest.mark.parametrize("places", [False, True])
def test_a_sequence_is_reversed_with_positions_and_not_without(places):
    """No equivariant map reverses: of independent tokens it can know the mean of the others at best."""
    worst = worst_after(places, 64, lambda x: x.flip(1), 4000)
    assert worst < 1e-2 if places else worst > 0.5


@pytest.mark.slow
def test_ten_times_the_width_halves_the_largest_error():
    """One layer of attention and one hidden layer come nearer to a map of sequences, sin(6 x) reversed (2507.10581)."""
    narrow, wide = (worst_after(True, width, lambda x: torch.sin(6 * x.flip(1)), 2500) for width in (4, 40))
    assert wide < narrow / 2 and narrow > 0.3


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", [(2, 0, 12), (0, 5, 12), (0, 0, 12)])
def test_no_tokens_give_no_tokens(kind, shape):
    x = torch.zeros(shape, dtype=DOUBLE)
    assert layer(kind)(x).shape == shape
    assert layer(kind)(x, torch.ones(shape[:2], dtype=torch.bool)).shape == shape
