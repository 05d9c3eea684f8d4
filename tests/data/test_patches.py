import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sundog.data.dataset import Dataset
from sundog.data.maps.patches import cut, paste
from sundog.errors import OptionError, ShapeError

SIDES = st.integers(5, 12)


@given(st.integers(1, 3), st.integers(0, 2), SIDES, SIDES, st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_paste_undoes_cut_where_patches_cover(n, channels, ny, nx, size, stride):
    shape = (n, channels, ny, nx) if channels else (n, ny, nx)
    maps = Dataset.from_arrays(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    patches = cut(maps, size, min(stride, size))
    layout = patches.provenance["patches"]
    bottom = (layout["rows"] - 1) * layout["stride"] + size
    right = (layout["columns"] - 1) * layout["stride"] + size
    back = paste(patches)
    assert torch.allclose(back[..., :bottom, :right], maps.values[..., :bottom, :right], atol=1e-6)
    assert (back[..., bottom:, :] == 0).all()
    assert len(patches) == n * layout["rows"] * layout["columns"]


def test_patches_are_the_pixels_of_the_map_with_their_context():
    maps = Dataset.from_arrays(torch.arange(48.0).view(1, 6, 8), context=[2.5], pixel_arcmin=0.5, units="uK")
    patches = cut(maps, 3)
    assert patches.values.shape == (4, 3, 3)
    assert torch.equal(patches.values[1], maps.values[0, :3, 3:6])
    assert patches.context.flatten().tolist() == [2.5] * 4
    assert (patches.units, patches.pixel_arcmin, patches.periodic) == (("uK",), 0.5, False)


def test_impossible_cuts_are_named():
    maps = Dataset.from_arrays(torch.zeros(1, 6, 8) + torch.arange(8))
    with pytest.raises(ShapeError, match="cannot cut patches"):
        cut(maps, 7)
    with pytest.raises(ShapeError, match="cannot cut patches: got events"):
        cut(Dataset.from_arrays(torch.randn(5, 9)), 3)
    with pytest.raises(OptionError, match="impossible patches"):
        cut(maps, 3, stride=-1)
    with pytest.raises(ShapeError, match="cannot paste"):
        paste(maps)
    with pytest.raises(ShapeError, match="cannot paste: got 1 patches"):
        paste(cut(maps, 3)[:1])
