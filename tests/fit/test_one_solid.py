"""The one solid of a slice: the attenuation inside of it, and how sure its bound is."""

import pytest
import torch

from tomopy_ganrec.fit.one_solid import inside, margin, share_of_solid


def squares():
    """Two slices: a square of attenuation 0.9 with bright edges, and lines without an inside."""
    image = torch.zeros(2, 16, 16)
    image[0, 3:12, 3:12] = 1.5
    image[0, 4:11, 4:11] = 0.9
    image[1, ::4] = 1.0
    return image


def test_the_inside_of_a_body():
    one = torch.ones(2, 1, 1)
    assert inside(squares(), one, False).flatten().tolist() == pytest.approx([0.9, 0.0])
    assert inside(squares(), torch.tensor([0.6, 1.0])[:, None, None], False).flatten().tolist() == pytest.approx(
        [1.5, 0.0]
    )
    assert inside(squares(), 2 * one, False).flatten().tolist() == [0.0, 0.0]  # it lies below half the bound


def test_slices_that_are_one_body_have_one_inside():
    found = inside(squares(), torch.ones(2, 1, 1), True)
    assert found.shape == (2, 1, 1) and found.flatten().tolist() == pytest.approx([0.9, 0.9])


def test_the_margin_falls_with_sureness():
    level = torch.tensor([0.95, 0.99, 1.0, 1.02])
    margins = [margin(level, torch.full_like(level, 1.25), degrees).tolist() for degrees in (60.0, 90.0, 120.0)]
    for values in margins:
        assert values == sorted(values, reverse=True) and values[-1] == 0 and values[0] == pytest.approx(0.12)
    assert margins[0][1] > margins[1][1] > margins[2][1]  # the narrower the range, the less is sure


def test_several_solids_have_no_share():
    def share(level, grey, overshoot):
        return float(share_of_solid(*(torch.tensor(value) for value in (level, grey, overshoot))))

    assert share(1.0, 0.0, 1.3) == 1
    assert share(0.94, 0.0, 1.3) == 0  # its bright part lies below the bound
    assert share(1.0, 0.3, 1.3) == 0 and share(1.06, 0.3, 1.3) == 1  # grey areas, or walls thinner than a pixel
    assert share(1.0, 0.0, 1.6) == 0 and share(1.09, 0.0, 1.6) == 1  # a brighter solid, or thin walls
    assert 0 < share(0.955, 0.0, 1.3) < 1
