"""moved copies: shifted, turned, mirrored, noisy copies of training images are caught; new images are not."""

import pytest
import torch

from sundog import judge
from sundog.errors import ShapeError
from sundog.statistics.samples.moved import moved_copies


def fields(n, seed, size=48, slope=3.0):
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None, :] ** 2
    k[0, 0] = torch.inf
    white = torch.randn(n, size, size, generator=torch.Generator().manual_seed(seed))
    field = torch.fft.irfft2(torch.fft.rfft2(white) * k ** (-slope / 4), s=(size, size))
    return field / field.std()


def moved(x, seed, noise=0.1):
    """Each image rolled, turned or mirrored at random, with noise on top."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for i, image in enumerate(x):
        shift = torch.randint(0, image.shape[0], (2,), generator=generator).tolist()
        image = image.roll(shift, (0, 1)).rot90(i % 4, (0, 1))
        out.append(image.flip(0) if i // 4 % 2 else image)
    return torch.stack(out) + noise * x.std() * torch.randn(x.shape, generator=generator)


def test_twenty_of_twenty_moved_copies_are_caught_and_none_of_two_hundred_new_images():
    train, real = fields(100, 0, 40), fields(100, 1, 40)
    new, planted = fields(200, 3, 40), moved(train[:20], 3)
    verdict = judge(real, torch.cat([new, planted]), train=train, statistics="deciding")
    row = verdict["moved copies"]
    assert row.value == 20 and not row.passed and row.null == 0
    assert "training image" in row.note and row.decides and not verdict.passed
    one = judge(real, torch.cat([new[:100], planted[:1]]), train=train, statistics="deciding")
    assert one["moved copies"].value == 1 and not one.passed and one.summary().startswith("FAIL")
    honest = judge(real, new[:100], train=train, statistics="deciding")
    assert honest.passed and honest["moved copies"].value == 0 and honest["moved copies"].passed


def test_the_place_of_a_copy_is_named():
    train = fields(40, 0, 32)
    copies = moved(train[:16], 1, noise=0.02)
    found = moved_copies(copies, train)
    assert found.image.tolist() == list(range(16)) and float(found.differing.max()) < 0.2
    for copy, place, turn in zip(copies, found.image, found.turn.tolist()):
        image = train[place].flip(1) if turn % 2 else train[place]
        image = image.rot90(turn // 2, (0, 1))  # some shift of it is the copy: equal Fourier moduli
        a, b = (torch.fft.rfft2(x).abs().flatten() for x in (copy, image))
        assert float((a - b).norm() / b.norm()) < 0.1


def test_a_patch_pasted_into_a_new_image_is_found():
    train, fakes = fields(60, 0), fields(40, 1)
    fakes[:10, 4:40, 8:44] = train[:10, 10:46, 2:38]
    found = moved_copies(fakes, train)
    assert float(found.likeness[:10].max()) < -0.6 < -0.4 < float(found.likeness[10:].min())
    assert found.image[:10].tolist() == list(range(10))


def test_blank_images_and_sides_of_two_lengths():
    train = torch.zeros(20, 16, 24)
    train[:, 5:8, 6:9] = torch.rand(20, 3, 3, generator=torch.Generator().manual_seed(0))
    found = moved_copies(torch.zeros(5, 16, 24), train)
    assert torch.equal(found.likeness, torch.zeros(5)) and bool(torch.isfinite(found.differing).all())
    with pytest.raises(ShapeError, match="sides of at least 8"):
        moved_copies(torch.zeros(5, 4, 4), torch.zeros(5, 4, 4))


def test_where_the_work_is_bounded_it_says_what_was_left_out(monkeypatch):
    monkeypatch.setattr("sundog.statistics.samples.moved.WORK", 2e7)
    verdict = judge(fields(60, 0, 16), fields(60, 1, 16), train=fields(100, 2, 16), statistics="deciding")
    assert "% of the training images" in verdict["moved copies"].note


def test_a_truth_that_repeats_itself_or_is_mostly_blank_is_no_copy_of_the_training_images():
    """As many real rows as fakes stand in the training images, or only a few images have anything in them."""
    train, real, fake = fields(120, 10, 24), fields(100, 11, 24), fields(100, 12, 24)
    sources = fields(20, 3, 24)
    for x, first in ((train, 0), (real, 5), (fake, 10)):
        x[:10] = sources[first : first + 10]
    repeated = judge(real, fake, train=train, statistics="deciding")
    row = repeated["moved copies"]
    assert repeated.passed and row.passed and row.p_value > 0.01
    train, real, fake = fields(120, 0, 24), fields(100, 1, 24), fields(100, 2, 24)
    for x, filled in ((train, 8), (real, 3), (fake, 5)):
        x[filled:] = 0
    blank = judge(real, fake, train=train, statistics="deciding")
    assert blank.passed and blank["moved copies"].value == 0


@pytest.mark.parametrize("seed", [1080, 1150, 1220])
def test_a_small_shape_that_is_found_again_is_no_copy(seed):
    """Masks with a blob of a few pixels: the same blob stands elsewhere by chance."""
    x = (fields(300, seed, 20) > 1).float()
    assert judge(x[:100], x[100:200], train=x[200:], statistics="deciding", splits=4).passed


@pytest.mark.slow
def test_no_false_alarm_in_many_verdicts():
    """20 verdicts of 100 fakes each, steep and flat fields: not one of 2000 new images is taken for a copy."""
    found = failed = 0
    for i in range(20):
        x = fields(300, 100 + i, 32, slope=(1.0, 3.0)[i % 2])
        verdict = judge(x[:100], x[100:200], train=x[200:], statistics="deciding", seed=i)
        found += verdict["moved copies"].value
        failed += not verdict.passed
    assert found == 0 and failed <= 3


def test_copies_of_faint_sources_are_caught_beside_bright_ones():
    """Sources over three decades of flux: a threshold common to all would see the bright ones only."""
    rng = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*2 * [torch.arange(40.0)], indexing="ij")
    images = 0.05 * torch.randn(90, 40, 40, generator=rng)
    for _ in range(3):
        at, flux = 8 + 24 * torch.rand(90, 2, 1, 1, generator=rng), 10 ** (3 * torch.rand(90, 1, 1, generator=rng))
        width = 2 + 6 * torch.rand(1, generator=rng)
        images += flux * torch.exp(-((x - at[:, 0]) ** 2 + (y - at[:, 1]) ** 2) / width)
    train, new = images[:50], images[50:]
    found = moved_copies(torch.cat([new, train[:20].roll((7, 5), (1, 2)).rot90(1, (1, 2))]), train)
    assert float(found.likeness[40:].max()) < -1.5 < float(found.likeness[:40].min())
    assert found.image[40:].tolist() == list(range(20))
