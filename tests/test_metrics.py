"""Image quality and agreement of segmentations: by hand, and as scikit-image computes it."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from tomopy_ganrec.metrics import matthews_correlation, mssim, otsu_segmentation, rmse, ssim_map


def pair(size=40, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((size, size + 3))
    return truth, truth + 0.1 * rng.standard_normal(truth.shape)


def test_rmse_by_hand():
    assert rmse([[0, 0], [1, 2]], [[3, 4], [1, 2]]) == 2.5  # sqrt((9 + 16) / 4), exact in binary
    assert isinstance(rmse(*pair()), float)


def test_rmse_of_float32_is_computed_in_float64():
    truth = np.full((100, 100), 1e4, np.float32)
    assert rmse(truth, truth + np.float32(0.25)) == 0.25  # exact: every number here is


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("a, b", [(0.2, 0.8), (1.0, 0.5), (0.0, 1.0)])
def test_ssim_of_constant_images_by_hand(a, b, gaussian):
    expected = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)  # Wang 2004: no variance, C1 = (0.01·1)²
    # The window's weights add up to 1 within rounding, whose square is weighed against C2 = 9e-4.
    assert mssim(np.full((16, 16), a), np.full((16, 16), b), gaussian=gaussian) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(
        ssim_map(np.full((16, 16), a), np.full((16, 16), b), gaussian=gaussian), expected, atol=1e-9
    )


@pytest.mark.parametrize("data_range", [1.0, 0.3])
def test_gaussian_convention_of_scikit_image(data_range):
    truth, image = pair()
    window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    value, full = structural_similarity(truth, image, data_range=data_range, full=True, **window)
    assert mssim(truth, image, data_range) == value  # the same call
    np.testing.assert_array_equal(ssim_map(truth, image, data_range), full)


def test_default_window_of_scikit_image():
    truth, image = pair()
    value, full = structural_similarity(truth, image, data_range=1.0, full=True)
    assert mssim(truth, image, gaussian=False) == value  # the same call
    np.testing.assert_array_equal(ssim_map(truth, image, gaussian=False), full)


@pytest.mark.parametrize("gaussian, border", [(True, 5), (False, 3)])
def test_mssim_is_the_mean_of_the_map_inside_the_border(gaussian, border):
    truth, image = pair()
    inside = ssim_map(truth, image, gaussian=gaussian)[border:-border, border:-border]
    assert mssim(truth, image, gaussian=gaussian) == pytest.approx(inside.mean(), rel=1e-12)  # the order of a sum


@pytest.mark.parametrize("gaussian", [True, False])
def test_identical_images(gaussian):
    truth, _ = pair()
    # Numerator and denominator are rounded apart.
    assert mssim(truth, truth, gaussian=gaussian) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(ssim_map(truth, truth, gaussian=gaussian), 1, atol=1e-12)
    assert rmse(truth, truth) == 0


def test_units_cancel_with_the_data_range():
    truth, image = pair()
    # Rounding only.
    assert mssim(truth * 0.02, image * 0.02, data_range=0.02) == pytest.approx(mssim(truth, image), rel=1e-9)


def test_nothing_is_rescaled():
    truth, _ = pair()
    assert mssim(truth, truth * 1.2) < 0.99 and mssim(truth, truth + 0.2) < 0.99
    assert rmse(truth, truth + 0.2) == pytest.approx(0.2, rel=1e-12)


def test_float32_and_lists_are_taken():
    truth, image = (a.astype(np.float32) for a in pair())
    assert ssim_map(truth, image).dtype == np.float64 and ssim_map(truth, image).shape == truth.shape
    assert mssim(truth.tolist(), image.tolist()) == mssim(truth, image)
    assert isinstance(mssim(truth, image), float)


@pytest.mark.parametrize("metric", [mssim, rmse, ssim_map, matthews_correlation])
@pytest.mark.parametrize(
    "a, b", [((16, 16), (16, 17)), ((2, 16, 16), (2, 16, 16)), ((16,), (16,)), ((16, 16), (1, 16, 16))], ids=str
)
def test_wrong_shapes(metric, a, b):
    with pytest.raises(ValueError, match=r"shape.*rows, columns"):
        metric(np.zeros(a), np.zeros(b))


def test_matthews_correlation_by_hand():
    truth = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    found = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    # 3 true and 1 false positives, 3 true and 1 false negatives: (3·3 − 1·1) / sqrt(4·4·4·4)
    assert matthews_correlation(truth, found) == pytest.approx(0.5, rel=1e-12)  # the order of a sum
    assert matthews_correlation(truth, truth) == pytest.approx(1, rel=1e-12)
    assert matthews_correlation(truth, ~truth) == pytest.approx(-1, rel=1e-12)
    assert matthews_correlation(truth.astype(int), found.tolist()) == matthews_correlation(truth, found)


def test_a_single_class_correlates_with_nothing():
    truth = np.eye(8)
    assert matthews_correlation(truth, np.ones((8, 8))) == matthews_correlation(np.zeros((8, 8)), truth) == 0


def test_a_correlation_is_of_segmentations():
    with pytest.raises(ValueError, match="zeros and ones"):
        matthews_correlation(np.eye(8), 0.01 * np.eye(8))


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_otsu_parts_two_materials_in_any_unit(scale):
    truth = np.add.outer(np.arange(40), np.arange(40)) % 9 < 4
    image = scale * (truth + 0.15 * np.random.default_rng(0).standard_normal(truth.shape))
    found = otsu_segmentation(image)
    assert found.dtype == bool and matthews_correlation(truth, found) > 0.97  # half the step is 3.3 deviations


def test_otsu_of_a_constant_image_finds_nothing():
    assert not otsu_segmentation(np.full((8, 8), 0.3)).any()


@pytest.mark.parametrize("image", [np.full((8, 8), np.nan), np.zeros((0, 8))], ids=["nan", "empty"])
def test_otsu_needs_finite_pixels(image):
    with pytest.raises(ValueError, match="cannot be segmented"):
        otsu_segmentation(image)
