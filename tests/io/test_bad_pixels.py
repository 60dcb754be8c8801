"""Wrong values of a detector are found, counted and interpolated; sound slices stay as they are."""

import numpy as np
import pytest
import scans

from tomopy_ganrec.io.bad_pixels import bad_columns, repair

DARK = 100


def slice_of(columns=48, angles=90, span=180.0, photons=2e4, largest=2.0, seed=0):
    """(degrees, line integrals, counts, mean flat) of one slice."""
    degrees = np.arange(angles) * span / angles
    integrals, data, flat, _ = scans.counts(degrees, columns, 1, photons, DARK, seed, largest=largest)
    return degrees, integrals[:, 0], data[:, 0].astype(float), flat[:, 0].mean(0)


def transmission(data, flat):
    return (data - DARK) / np.maximum(flat - DARK, 1e-6)


def integrals_of(found):
    return -np.log(np.maximum(found.transmission.astype(float), 1e-6))


@pytest.mark.parametrize("photons", [1e3, 1e4, 1e5, None])
@pytest.mark.parametrize(
    "columns, angles, span",
    [(32, 60, 180), (64, 120, 120), (64, 30, 120), (128, 180, 360), (256, 90, 180), (48, 7, 180)],
)
@pytest.mark.parametrize("largest", [0.1, 2.0, 4.0])
def test_sound_slices_are_left_alone(photons, columns, angles, span, largest):
    degrees, integrals, data, flat = slice_of(columns, angles, span, photons or 1e4, largest)
    t = transmission(data, flat) if photons else np.exp(-integrals)
    found = repair(t, degrees, bad_columns(flat - DARK))
    assert found.count == 0 and found.reason == ""
    changed = found.transmission != t.astype(np.float32)
    assert not changed[t > 3 / (photons or np.inf)].any()  # where hardly a photon came, the logarithm is bounded


FAULTY_COLUMNS = {
    "first": [0],
    "last": [-1],
    "middle": [24],
    "second": [1],
    "two": [20, 21],
    "three": [30, 31, 32],
    "far apart": [5, 23, 40],
    "at the edges": [0, 1, -1],
}
KINDS = {
    "dead": (0, 0),
    "at the dark level": (DARK, DARK),
    "saturated": (60000, 60000),
    "full": (65535, 65535),
    "died later": (DARK, None),
    "stuck": (8000, None),
}


@pytest.mark.parametrize("columns", FAULTY_COLUMNS)
@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_do_not_measure(columns, kind):
    degrees, integrals, data, flat = slice_of()
    value, of_flat = KINDS[kind]
    where = np.arange(48)[FAULTY_COLUMNS[columns]]
    data[:, where] = value
    if of_flat is not None:
        flat[where] = of_flat
    t = transmission(data, flat)
    found = repair(t, degrees, bad_columns(flat - DARK))
    in_air = (integrals[:, where].max(0) < 0.01).sum()  # a constant there may be what is seen
    assert len(where) * 90 - in_air * 90 <= found.count <= len(where) * 90 and not found.reason
    others = np.setdiff1d(np.arange(48), where)
    np.testing.assert_array_equal(found.transmission[:, others], t.astype(np.float32)[:, others])
    # of neighbours that differ by up to 0.6 from column to column
    assert np.abs(integrals_of(found) - integrals)[:, where].mean() < 0.15


@pytest.mark.parametrize("spread", [20, 300])
def test_columns_that_make_their_own_noise(spread):
    degrees, integrals, data, flat = slice_of()
    data[:, 17] = np.random.default_rng(0).normal(9000, spread, 90)
    found = repair(transmission(data, flat), degrees)
    assert found.count == 90 and np.abs(integrals_of(found) - integrals)[:, 17].mean() < 0.1
    data[:, 17] = np.random.default_rng(0).uniform(200, 40000, 90)
    assert repair(transmission(data, flat), degrees).count == 90


@pytest.mark.parametrize("columns, angles", [(48, 90), (96, 180), (32, 30)])
@pytest.mark.parametrize("value", [0, 65535, np.nan, np.inf])
@pytest.mark.parametrize("share", [0.002, 0.02])
def test_single_values(columns, angles, value, share):
    degrees, integrals, data, flat = slice_of(columns, angles)
    rng = np.random.default_rng(1)
    wrong = rng.random(data.shape) < share
    data[wrong] = value
    t = transmission(data, flat)
    found = repair(t, degrees)
    sound = scans.error(-np.log(transmission(slice_of(columns, angles)[2], flat)), integrals)
    assert wrong.sum() <= found.count <= wrong.sum() * 1.1 + 1
    # what is interpolated is as near as the neighbours are
    assert scans.error(integrals_of(found), integrals) < sound + 0.25 * np.sqrt(share) + 0.01


@pytest.mark.parametrize("length", [2, 5, 9])
@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("angle", [0, 1, 44, 89])
def test_several_pixels_of_one_projection(length, value, angle):
    degrees, integrals, data, flat = slice_of()
    data[angle, 20 : 20 + length] = value
    found = repair(transmission(data, flat), degrees)
    assert found.count == length
    assert np.abs(integrals_of(found) - integrals)[angle, 20 : 20 + length].max() < 0.5


@pytest.mark.parametrize("value", [0, DARK, 65535])
def test_spans_over_several_projections(value):
    degrees, integrals, data, flat = slice_of()
    data[40:46, 20:27] = value
    found = repair(transmission(data, flat), degrees)
    assert 42 <= found.count <= 50
    assert np.abs(integrals_of(found) - integrals)[40:46, 20:27].max() < 0.5


def test_a_projection_that_was_not_read_to_its_end():
    degrees, integrals, data, flat = slice_of()
    data[30, 15:] = 0
    found = repair(transmission(data, flat), degrees)
    assert found.count >= 25 and np.abs(integrals_of(found) - integrals)[30].max() < 0.6


@pytest.mark.parametrize("factor", [0.7, 0.95, 1.2])
def test_a_flickering_beam_is_no_fault_of_pixels(factor):
    degrees, _, data, flat = slice_of()
    data[33] = DARK + factor * (data[33] - DARK)
    assert repair(transmission(data, flat), degrees).count == 0


def test_the_order_of_the_projections_is_kept():
    degrees, _, data, flat = slice_of()
    data[10, 20], data[50, 11] = 65535, 0
    order = np.random.default_rng(0).permutation(90)
    t = transmission(data, flat)
    straight, mixed = repair(t, degrees), repair(t[order], degrees[order])
    np.testing.assert_allclose(mixed.transmission, straight.transmission[order], rtol=1e-6)
    assert mixed.count == straight.count == 2


def test_zeros_beside_few_photons_do_not_become_large_integrals():
    degrees, integrals, data, flat = slice_of(photons=300, largest=5.0)
    found = repair(transmission(data, flat), degrees)
    assert integrals_of(found).max() < 9  # 13.8 was the logarithm's bound


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (2, 2), (2, 8), (3, 4), (4, 3), (5, 2), (6, 5)])
@pytest.mark.parametrize("fill", [0.5, 0.0, np.nan])
def test_too_few_values_to_find_wrong_ones(shape, fill):
    values = np.full(shape, 0.5)
    values[0, 0] = fill
    found = repair(values, np.arange(shape[0]) * 10.0)
    assert found.transmission.shape == shape and (found.reason or np.isfinite(found.transmission).all())


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_slices_that_cannot_be_repaired_give_a_reason(share):
    degrees, _, data, flat = slice_of()
    where = np.arange(0, 48)[np.random.default_rng(0).permutation(48) < share * 48]
    data[:, where] = flat[where] = DARK
    t = transmission(data, flat)
    found = repair(t, degrees, np.isin(np.arange(48), where))
    assert "do not measure" in found.reason or "none of its columns measures" in found.reason
    found = repair(np.where(np.random.default_rng(0).random(t.shape) < 0.5, np.nan, t), degrees)
    assert found.reason
