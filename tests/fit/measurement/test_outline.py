"""Outlines that the edges of projections show, of discs, ellipses, polygons and of what they do not show."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit.measurement.outline import estimate_outline, outlines
from tomopy_ganrec.io import read_projections
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.classical import fbp

N, FINE = 96, 4  # pixels of the slice and of the detector; parts of a pixel in which the object is drawn
CENTER = 50.0


def polygon(x, y, corners=5, radius=0.6, turn=0.3):
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    return np.max([x * np.cos(a) + y * np.sin(a) for a in angles], axis=0) < radius * 0.8


SHAPES = {  # of coordinates from −1 to 1
    "circle": lambda x, y: np.hypot(x - 0.1, y + 0.05) < 0.7,
    "ellipse": lambda x, y: np.hypot((x + 0.1) / 0.75, (y + 0.3 * x) / 0.5) < 1,
    "hull": polygon,
}


@functools.cache
def drawn(shape):
    """The object, and the part of each pixel that it covers."""
    x = (np.arange(N * FINE) + 0.5) / (N * FINE) * 2 - 1
    body = SHAPES[shape](x[None], x[:, None])
    holes = np.hypot((x[None] * 4) % 1 - 0.5, (x[:, None] * 4) % 1 - 0.5) < 0.2
    holes &= np.hypot(x[None], x[:, None]) < 0.35
    body = (body & ~holes).astype(np.float32)
    return body, body.reshape(N, FINE, N, FINE).mean((1, 3))


@functools.cache
def scan(shape, degrees, noise=0.0):
    """Line integrals over a range of angles, one projection for each degree, and the angles."""
    theta = np.deg2rad(np.arange(-degrees / 2, degrees / 2))
    body = torch.from_numpy(drawn(shape)[0])[None]
    model = ParallelBeamProjector(N * FINE, theta, N * FINE, CENTER * FINE)
    data = model.forward_project(body)[0].numpy().reshape(len(theta), N, FINE).mean(2) / FINE * 0.02
    rng = np.random.default_rng(0)
    return data + noise * data.max() * rng.standard_normal(data.shape), theta


@pytest.mark.parametrize("noise", (0.0, 0.01))
@pytest.mark.parametrize("degrees", (60, 120))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_outline_holds_the_object_and_little_else(shape, degrees, noise):
    data, theta = scan(shape, degrees, noise)
    outline = estimate_outline(data, theta, CENTER, (N, N))
    # Over 60° too much else looks like an ellipse.
    assert outline.kind == (shape if degrees > 75 or shape == "circle" else "hull")
    body = drawn(shape)[1]
    assert body[~outline.support].max() < 0.2  # at the tip of a corner
    # A margin of a column or two is some 7 % of these bodies, and their holes some 4 %. Of the polygon, what no
    # projection has seen is another 60 % at 60°, 13 % at 120°.
    largest = {60: 1.8, 120: 1.35}[degrees] if outline.kind == "hull" else 1.2
    assert outline.support.sum() < largest * body.astype(bool).sum()


def test_a_disc_is_found_to_a_fraction_of_a_pixel():
    data, theta = scan("circle", 30)
    support = estimate_outline(data, theta, CENTER, (N, N), margin=0.0).support
    y, x = np.mgrid[:N, :N] + 0.5
    distance = np.hypot(x - (1.1 * N / 2), y - (0.95 * N / 2)) - 0.7 * N / 2
    assert np.abs(distance[support]).min() < 1 and distance[support].max() < 0.6 and distance[~support].min() > -0.3


def test_the_margin_widens_the_outline():
    data, theta = scan("hull", 90)
    small, large = (estimate_outline(data, theta, CENTER, (N, N), margin=m).support for m in (0.0, 3.0))
    assert not (small & ~large).any()
    # Three columns all around a body some 40 in radius.
    assert 1.1 < large.sum() / small.sum() < 1.3


def test_a_background_and_a_scale_change_nothing():
    """Counts that are normalised a little wrongly leave an even background."""
    data, theta = scan("circle", 60)
    expected = estimate_outline(data, theta, CENTER, (N, N)).support
    for changed in (data + 0.01 * data.max(), 1e-4 * data, 1e4 * data):
        assert (estimate_outline(changed, theta, CENTER, (N, N)).support != expected).sum() <= 8


def test_the_order_of_the_angles_does_not_matter():
    data, theta = scan("hull", 60)
    order = np.random.default_rng(1).permutation(len(theta))
    expected = estimate_outline(data, theta, CENTER, (N, N)).support
    np.testing.assert_array_equal(estimate_outline(data[order], theta[order], CENTER, (N, N)).support, expected)


def test_grids_of_other_sizes_and_pixels():
    data, theta = scan("hull", 90)
    plain = estimate_outline(data, theta, CENTER, (N, N)).support
    larger = estimate_outline(data, theta, CENTER, (N + 20, N + 10)).support
    np.testing.assert_array_equal(larger[10:-10, 5:-5], plain)
    assert larger.sum() == plain.sum()
    fine = estimate_outline(data, theta, CENTER, (2 * N, 2 * N), pixel_size=0.5).support
    # Each pixel is four fine ones; along the outline, of some 240 pixels, they may differ.
    assert abs(fine.sum() / 4 - plain.sum()) < 60


@pytest.mark.parametrize("what", ("empty", "wider than the detector", "narrow"))
def test_without_edges_there_is_no_outline(what):
    theta = np.deg2rad(np.arange(0, 90.0))
    data = dict(
        {"empty": np.zeros((90, N)), "narrow": np.ones((90, 8))},
        **{"wider than the detector": scan("circle", 90)[0][:, 24:-24]},
    )[what]
    outline = estimate_outline(data, theta, data.shape[1] / 2, (N, N))
    assert outline.kind == "none" and outline.support.all()


def test_a_side_that_is_not_seen_is_left_open():
    data, theta = scan("hull", 90)
    support = estimate_outline(data[:, 32:], theta, CENTER - 32, (N, N)).support
    body = drawn("hull")[1]
    assert body[~support].max() < 0.2 and 0.2 < (~support).mean() < 0.7


def test_outlines_of_several_slices():
    data, theta = zip(*(scan(shape, 90) for shape in SHAPES), strict=True)
    model = ParallelBeamProjector(N, theta[0], N, CENTER)
    sinogram = torch.from_numpy(np.stack(data).astype(np.float32))
    support, kinds = outlines(model, sinogram)
    assert kinds == tuple(SHAPES)
    assert support.shape == (3, N, N) and support.dtype == torch.float32
    for k, one in enumerate(data):
        expected = estimate_outline(one.astype(np.float32), theta[0], CENTER, (N, N)).support
        np.testing.assert_array_equal(support[k].numpy(), expected)


# Measured data, where they are


def measured(name):
    path = Path(__file__).resolve().parents[4] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    projections, theta = read_projections(path)
    return projections, theta


@pytest.mark.parametrize("name", ("htc2022_ta.h5", "htc2022_tc.h5"))
def test_measured_discs_are_circles_from_any_range(name):
    """Acrylic discs of 118 columns' radius, 140.06 the axis: SOURCES.md beside the data."""
    projections, theta = measured(name)
    sinogram, size = projections[:, 0], (280, 280)
    full = estimate_outline(sinogram, theta, 140.06, size)
    assert full.kind == "circle" and np.sqrt(full.support.sum() / np.pi) == pytest.approx(118.5, abs=1.2)
    for degrees in (30, 60, 90):
        some = theta < np.deg2rad(degrees)
        part = estimate_outline(sinogram[some], theta[some], 140.06, size)
        # Along 740 pixels of circumference; .7 % of the area is half a pixel there.
        assert part.kind == "circle" and (part.support ^ full.support).sum() < 0.007 * full.support.sum()


def test_the_outline_of_a_tooth():
    """It holds what attenuates; stripes beside the tooth make it wider, not narrower."""
    projections, theta = measured("tooth.h5")
    model = ParallelBeamProjector(640, theta, 640, 296.42, backend="fourier")
    data = np.ascontiguousarray(projections.swapaxes(0, 1))
    image = fbp(model, torch.from_numpy(data), theta).numpy()
    for k in range(2):
        some = theta < np.deg2rad(120)
        outline = estimate_outline(data[k][some], theta[some], 296.42, (640, 640))
        assert outline.kind == "hull" and 0.1 < outline.support.mean() < 0.2
        assert (image[k][~outline.support] > 0.004).mean() < 1e-3  # half of the tooth's attenuation
