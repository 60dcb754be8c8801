"""Figures of the report: which are drawn, and what they show."""

import math

import numpy as np
import pytest
from PIL import Image
from report_samples import EXTRA

pytest.importorskip("matplotlib")
from tomopy_ganrec.benchmark.report import figures
from tomopy_ganrec.benchmark.report.kept_images import gray_window, kept_images


def test_figures_are_drawn_for_each_case_with_images(written):
    cases = [f"{name}-{angular_range}" for name in ("foam", "shale") for angular_range in ("180", "120", "51over70")]
    expected = {"mssim_vs_angle.png", "slices-tooth-full.png", "slices-tooth-0to120.png"}
    expected |= {f"{kind}-{case}.png" for kind in ("slices", "ssim_maps") for case in cases}
    assert {name for name in written if name.endswith(".png")} == expected
    for name in expected:
        with Image.open(written[name]) as picture:
            colors = picture.convert("RGB").getcolors(1 << 24)
            assert min(picture.size) > 200 and len(colors) > 50, (
                name
            )  # an empty figure has one colour, axes alone a few greys


def test_plot_has_two_plain_ranges_and_their_deviations(results):
    figure = figures.mssim_vs_angle(results.rows(), list(EXTRA["descriptions"]))
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["foam, pixel, 32², 1e5 photons"] * 2 + ["shale, pixel, 32², noise-free"] * 2
    shale, errors = figure.axes[2:4]
    lines = {container.get_label(): container for container in shale.containers}
    assert list(lines) == ["gridrec", "MLEM, 200", "GANrec", "TV_best|* †"]
    x, y = lines["GANrec"][0].get_data()
    assert list(x) == [120, 180]  # 51/70 is another kind of measurement
    np.testing.assert_allclose(y, [0.815, 0.915], atol=1e-12)  # rounding
    (low, high) = lines["GANrec"][2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.02 / math.sqrt(2), abs=1e-12)  # rounding
    assert errors.get_yscale() == "log"
    np.testing.assert_allclose(errors.containers[2][0].get_ydata(), 1 - y, atol=1e-12)  # rounding
    assert figures.mssim_vs_angle([r for r in results.rows() if r["angular_range"] != "120"], []) is None


def test_twenty_one_methods_can_be_told_apart():
    names = [f"m{k}" for k in range(21)]
    assert len({(s["color"], s["linestyle"]) for s in figures.styles(names).values()}) == 21
    assert len({s["marker"] for s in figures.styles(names).values()}) == 21


def test_gray_window_is_the_truth_s_or_robust(results):
    for kept in kept_images(results.rows()):
        low, high = gray_window(results, kept)
        if kept.measured:
            assert 0 < low < 0.02 and 0.98 < high < 1  # quantiles of uniform noise in 0 to 1, from 1024 pixels
        else:
            assert (low, high) == (0, 1)
