"""Checks of data, angles, centres and grids before anything is computed."""

import numpy as np
import pytest

from tomopy_ganrec import ganrec, recon
from tomopy_ganrec.validation import check_finite, check_order, check_size

QUICK = dict(init="fbp", num_iter=0)


def data(slices=3, angles=20, columns=16):
    return np.zeros((slices, angles, columns), np.float32)


@pytest.mark.parametrize(
    "shape, order, words",
    [
        ((3, 20, 16), False, "axis 1 of the data.*slices and angles change places.*or sinogram_order=True"),
        ((20, 3, 16), True, "axis 0 of the data.*slices and angles change places.*without sinogram_order=True"),
        ((16, 3, 20), False, "axis 2 of the data.*columns and angles change places"),
        ((1, 20, 16), False, "axis 1 of the data"),
        ((20, 1, 16), True, "axis 0 of the data"),
        ((3, 16, 20), True, "axis 2 of the data.*columns and angles change places"),
    ],
)
def test_axes_in_another_order_are_named(shape, order, words):
    with pytest.raises(ValueError, match=f"theta has 20 angles.*{words}"):
        recon(np.zeros(shape, np.float32), np.linspace(0, 3, 20), sinogram_order=order)


def test_axes_that_may_be_right_are_left_alone():
    for order in (False, True):
        check_order(np.zeros(20), (20, 20, 20), order)
        check_order(np.zeros(20), (20, 20), order)
    check_order(np.zeros(7), (3, 20, 16), False)  # refused for its number
    check_order(np.zeros((20, 1)), (20, 3, 16), False)  # and for its shape


@pytest.mark.parametrize("columns", (1, 2, 3))
def test_narrow_detectors_are_refused_in_our_words(columns):
    tomo, theta = data(columns=columns), np.linspace(0, 3, 20)
    for call in (
        lambda: recon(tomo, theta, sinogram_order=True, num_gridx=8, num_gridy=8),
        lambda: ganrec(tomo, np.full(3, columns / 2), np.zeros((3, 8, 8), np.float32), theta),
    ):
        with pytest.raises(ValueError, match=f"{columns} columns? wide; a slice needs at least 4"):
            call()


@pytest.mark.parametrize("size", ((1, 8), (8, 2), (3, 3)))
def test_small_grids_are_refused_in_our_words(size):
    theta = np.linspace(0, 3, 20)
    for call in (
        lambda: recon(data(), theta, sinogram_order=True, num_gridx=size[0], num_gridy=size[1]),
        lambda: ganrec(data(), np.full(3, 8.0), np.zeros((3, *size), np.float32), theta),
    ):
        with pytest.raises(ValueError, match=f"the grid has {size[0]} rows and {size[1]} columns.*at least 4"):
            call()


@pytest.mark.parametrize(
    "options",
    (dict(), dict(quality="fast"), dict(init="fbp"), dict(num_iter=2, levels="auto"), dict(preset="paper", num_iter=1)),
)
def test_the_smallest_that_works(options):
    rng = np.random.default_rng(0)
    tomo = rng.uniform(0, 1, (2, 12, 4)).astype(np.float32)
    import warnings

    with warnings.catch_warnings():  # of what these numbers are
        warnings.simplefilter("ignore")
        for size in (4, 5):
            assert np.isfinite(
                recon(tomo, np.linspace(0, 3, 12), sinogram_order=True, num_gridx=size, num_gridy=4, **options)
            ).all()


@pytest.mark.parametrize("value", (np.nan, np.inf))
@pytest.mark.parametrize("where", ((0, 4, 2), (3, 2, 2), (6, 19, 15)))
@pytest.mark.parametrize("kind", ("array", "memmap", "hdf5", "zarr", "dask"))
def test_what_is_not_finite_is_named_by_its_slice_in_the_volume(tmp_path, kind, where, value):
    tomo = data(7)
    tomo[where] = value
    if kind == "memmap":
        np.save(tmp_path / "a.npy", tomo)
        tomo = np.load(tmp_path / "a.npy", mmap_mode="r")
    elif kind == "hdf5":
        tomo = pytest.importorskip("h5py").File(tmp_path / "a.h5", "w").create_dataset("a", data=tomo)
    elif kind == "zarr":
        tomo = pytest.importorskip("zarr").array(tomo, chunks=(2, 20, 16))
    elif kind == "dask":
        tomo = pytest.importorskip("dask.array").from_array(tomo, chunks=(2, 20, 16))
    with pytest.raises(ValueError, match=rf"\(slice, angle, column\) = \({where[0]}, {where[1]}, {where[2]}\)"):
        recon(tomo, np.linspace(0, 3, 20), sinogram_order=True, batch_size=2, **QUICK)


def test_slices_in_any_order_are_named():
    tomo = data(3)
    tomo[1, 5, 6] = np.nan
    with pytest.raises(ValueError, match=r"= \(4, 5, 6\)"):
        check_finite(tomo, [9, 4, 7])
    check_finite(data(), [1, 2, 3])


@pytest.mark.parametrize(
    "options",
    (
        dict(quality="fast"),
        dict(num_iter=3),
        dict(init="sirt", num_iter=2),
        dict(init="fbp", num_iter=2),
        dict(init="none", num_iter=2),
        dict(joint_slices=2, quality="fast"),
        dict(preset="paper", num_iter=1),
    ),
)
def test_data_of_any_size_give_an_image_of_that_size(options):
    y, x = np.mgrid[:24, :24] - 11.5
    theta = np.linspace(0, 3, 40)
    t = np.arange(24) - 11.5 - 3 * np.cos(theta)[:, None]
    tomo = np.repeat(2 * np.sqrt(np.maximum(36 - t**2, 0))[None], 2, 0).astype(np.float32)
    expected = recon(tomo, theta, sinogram_order=True, **options)
    loose = options.get("preset") == "paper"  # it amplifies rounding
    for factor in (2.0**-60, 2.0**62, 2.0**120):  # a power of two takes nothing from the numbers
        found = recon(tomo * np.float32(factor), theta, sinogram_order=True, **options)
        if loose:
            assert np.isfinite(found).all() and found.any()
        else:
            np.testing.assert_array_equal(found, expected * np.float32(factor))
    for factor in (1e18, 1e37, 1e-38):
        found = recon(tomo * np.float32(factor), theta, sinogram_order=True, **options)
        assert np.isfinite(found).all()
        if not loose:
            np.testing.assert_allclose(found / np.float32(factor), expected, atol=1e-3 * expected.max())


RAGGED = [[1, 2], [3]]
THETA = np.linspace(0, 3, 20)
NO_NUMBERS = [RAGGED, "abc", ["a"] * 20, np.zeros(20, complex), {}, object(), np.zeros(20, "M8[s]"), 10**400]


@pytest.mark.parametrize("what", ("theta", "center", "init_recon"))
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_holds_no_real_numbers_is_refused_by_its_name(what, value):
    tomo, out = data(), np.full((3, 16, 16), 1e-6, np.float32)
    given = dict(theta=THETA, center=8.0) | {what: value}
    with pytest.raises(ValueError, match=f"^{what}=.* holds no real numbers; give "):
        recon(tomo, sinogram_order=True, **given, **QUICK)
    if what != "init_recon":
        with pytest.raises(ValueError, match=f"^{what}=.* holds no real numbers; give "):
            ganrec(tomo, given["center"], out, given["theta"], options=QUICK)
        assert (out == np.float32(1e-6)).all()


@pytest.mark.parametrize("value", (1e39, -1e300, np.inf, np.nan))
def test_an_initial_image_that_float32_does_not_hold_is_refused(value):
    with pytest.raises(ValueError, match="init_recon holds values that are NaN or infinite"):
        recon(data(), THETA, sinogram_order=True, init_recon=np.full((3, 16, 16), value), **QUICK)


@pytest.mark.parametrize("value", (RAGGED, [RAGGED, RAGGED], [[[1, 2], [3]]]))
def test_data_of_unequal_lengths_are_refused_in_our_words(value):
    for call in (lambda: recon(value, THETA), lambda: ganrec(value, [8.0], np.zeros((1, 16, 16), np.float32), THETA)):
        with pytest.raises(ValueError, match="lists of unequal lengths; give one array"):
            call()


@pytest.mark.parametrize(
    "grid", (dict(num_gridx=16 * 64 + 1), dict(num_gridy=10**7), dict(num_gridx=2**31 - 1, num_gridy=4))
)
def test_grids_far_larger_than_the_detector_are_refused(grid):
    with pytest.raises(ValueError, match="the detector 16 columns: give at most 1024 of each"):
        recon(data(), THETA, sinogram_order=True, **grid, **QUICK)


@pytest.mark.parametrize("size", ((4, 1024), (1024, 16), (32, 40)))
def test_grids_that_hold_a_wide_sample_are_not(size):
    check_size(size, 16)


@pytest.mark.parametrize("part", (np.s_[:], np.s_[::-1], np.s_[:, ::-1]))
@pytest.mark.parametrize("order", (True, False))
def test_an_output_over_the_data_is_refused(part, order):
    tomo = np.zeros((20, 20, 20), np.float32)
    with pytest.raises(ValueError, match="out shares its memory with the data"):
        recon(tomo, THETA, sinogram_order=order, out=tomo[part], **QUICK)
    assert not tomo.any()


def test_an_output_beside_the_data_is_not(tmp_path):
    both = np.zeros((40, 20, 20), np.float32)
    assert recon(both[:20], THETA, sinogram_order=True, out=both[20:], **QUICK).base is both


@pytest.mark.parametrize("kind", ("U3", "O", "c8", "M8[s]", "m8[s]", "S2"))
def test_data_that_are_no_numbers_are_refused_in_our_words(kind):
    for call in (
        lambda tomo: recon(tomo, THETA, sinogram_order=True, **QUICK),
        lambda tomo: ganrec(tomo, np.full(3, 8.0), np.full((3, 16, 16), 1e-6, np.float32), THETA, options=QUICK),
    ):
        with pytest.raises(TypeError, match="holds (complex numbers|values of type)"):
            call(np.ones((3, 20, 16), "i8").astype(kind))


@pytest.mark.parametrize(
    "out",
    (
        None,
        [[0.0]],
        "x",
        1.0,
        np.zeros((3, 16, 16), int),
        np.zeros((3, 16, 16), complex),
        np.zeros((3, 16, 16), object),
    ),
)
def test_ganrec_writes_into_an_array_of_floats_only(out):
    with pytest.raises(TypeError, match="the array for the result is .*; give a float32 array"):
        ganrec(data(), np.full(3, 8.0), out, THETA, options=QUICK)
