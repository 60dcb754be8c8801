"""Volumes with masks: each slice has its own in any batch, on any worker and in any chunk, and after a resume."""

import numpy as np
import pytest
from small_volume import PAPER, QUICK, SLICES, THETA, WARM, N, data, stop_at

from tomopy_ganrec import ganrec, recon
from tomopy_ganrec.mask import Mask
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.tomopy_chunks import options_of_chunk

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def masks():
    """A disc that grows from slice to slice; the object is in none of them as a whole."""
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    return np.stack([np.hypot(y - 0.2 * k, x) < 5 + 0.4 * k for k in range(SLICES)])


@pytest.fixture(scope="module")
def masked(tomo, masks):
    return recon(tomo, THETA, mask=masks, **WARM)


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
@pytest.mark.parametrize(
    "options", (WARM, QUICK, PAPER, dict(QUICK, joint_slices=3)), ids=("warm", "cold", "paper", "joint")
)
def test_each_slice_has_its_own(tomo, masks, options):
    image = recon(tomo, THETA, mask=masks, **options)
    assert not image[~masks].any()
    for k in range(1, SLICES):
        assert image[k][masks[k] & ~masks[0]].any()


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
def test_one_for_all(tomo, masks):
    image = recon(tomo, THETA, mask=masks[4], **QUICK)
    assert not image[:, ~masks[4]].any() and all(one[masks[4]].any() for one in image)


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
def test_a_stopped_volume_goes_on_with_the_same_masks_only(tomo, masks, masked, tmp_path):
    pytest.importorskip("h5py")
    out = tmp_path / "rec.h5"
    with pytest.raises(KeyError, match="stopped"):
        recon(tomo, THETA, mask=masks, out=out, callback=stop_at(12), **WARM)
    other = masks.copy()
    other[3, 0, 0] = True
    for mask in (other, masks[0], True, "outline"):
        with pytest.raises(ValueError, match="begun for something else: options.mask"):
            recon(tomo, THETA, mask=mask, out=out, **WARM)
    recon(tomo, THETA, mask=masks.astype(float), out=out, **WARM)
    import h5py

    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], masked)


def test_wrong_shapes_are_refused_before_anything_is_computed(tomo, masks, tmp_path):
    for mask in (masks[:4], masks[:, :, 1:], masks[0, 1:]):
        with pytest.raises(ValueError, match=rf"mask has shape .*{SLICES} slices of {N} rows and {N} columns"):
            recon(tomo, THETA, mask=mask, out=tmp_path / "rec", **QUICK)
    assert not (tmp_path / "rec").exists()
    with pytest.raises(ValueError, match="30 rows"):
        recon(tomo, THETA, mask=masks, num_gridx=30, **QUICK)


def test_outlines_and_where_there_are_none(tomo):
    image, info = recon(tomo, THETA, mask="outline", return_info=True, **QUICK)
    assert {record["outline"] for record in info.slices} == {"circle"}
    # The discs have radii from .7 of half the grid; the margin is a column or two.
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    assert not image[:, np.hypot(y, x) > 0.75 * N / 2 + 2.5].any() and image[:, np.hypot(y, x) < 0.6 * N / 2].all()
    wide = "not fall to zero at the detector's edge: .* with mask='outline' cannot hold it"
    with (
        pytest.warns(UserWarning, match=wide),
        pytest.warns(UserWarning, match="mask='outline': the projections of 10 of 10 slices, the first is slice 0"),
    ):
        recon(tomo[:, :, 4:-4] + 0.5, THETA, mask="outline", trust_theta=True, **dict(QUICK, num_iter=0))


# Chunks of tomopy.recon


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
def test_chunks_of_one_array_follow_their_slices(tomo, masks):
    options = {name: value for name, value in QUICK.items() if name != "sinogram_order"}
    whole = np.full((SLICES, N, N), 1e-6, np.float32)
    for first in (0, 4, 8):
        part = whole[first : first + 4]
        ganrec(tomo[first : first + 4], np.full(len(part), N / 2), part, THETA, mask=masks, **options)
    assert not whole[~masks].any() and all(one.any() for one in whole)
    one = np.full((SLICES, N, N), 1e-6, np.float32)
    ganrec(tomo[3], N / 2, one[3], THETA, mask=masks, **options)  # nchunk=0
    # With other slices a slice is the same to 1e-4.
    np.testing.assert_allclose(one[3], whole[3], rtol=0, atol=1e-3 * whole[3].max())


def test_the_part_of_a_chunk(masks):
    options = GanrecOptions(mask=masks)
    whole = np.zeros((SLICES, N, N), np.float32)
    shared = np.frombuffer(bytearray(whole.nbytes), np.float32).reshape(whole.shape)
    for array in (whole, shared):
        assert options_of_chunk(options, array).mask == Mask(masks)
        assert options_of_chunk(options, array[2:5]).mask == Mask(masks[2:5])
        assert options_of_chunk(options, array[9][None]).mask == Mask(masks[9:])
    for mask in (True, False, "outline", masks[0]):
        same = GanrecOptions(mask=mask)
        assert options_of_chunk(same, whole[2:5]) is same
    # A call of its own with a part of another array: the mask is that of its slices.
    assert options_of_chunk(GanrecOptions(mask=masks[:3]), whole[2:5]).mask == Mask(masks[:3])


def test_chunks_whose_place_is_not_known_are_refused(masks):
    options = GanrecOptions(mask=masks[:6])
    whole = np.zeros((SLICES, N, N), np.float32)
    for part in (whole[2:5], np.zeros((SLICES, N + 1, N + 1), np.float32)[2:5, 1:, 1:]):
        with pytest.raises(
            ValueError, match="mask has shape .* one a slice; 3 slices of an array .* give the mask of all"
        ):
            options_of_chunk(options, part)
    with pytest.raises(ValueError, match="10 slices of 24 rows"):
        options_of_chunk(options, whole)


def test_the_same_on_a_cluster(masks):
    """What travels to a worker is an eighth of a byte a pixel, and each task takes its slices' masks."""
    import pickle

    from tomopy_ganrec.volume.worker import options_of_slices

    options = GanrecOptions(mask=masks)
    assert len(pickle.dumps(options.mask)) < masks.size / 8 + 1000
    travelled = pickle.loads(pickle.dumps(options))
    assert options_of_slices(travelled, np.array([7, 2])).mask == Mask(masks[[7, 2]])
    assert options_of_slices(GanrecOptions(), np.array([7, 2])) == GanrecOptions()
    assert data().shape[0] == len(masks)
