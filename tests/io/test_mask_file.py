"""Files of masks: .npy and TIFF, and what is refused."""

import numpy as np
import pytest

from tomopy_ganrec.io.mask_file import read_mask

DISC = np.hypot(*np.ogrid[-3.5:4, -4:5]) < 3


@pytest.mark.parametrize("array", (DISC, DISC.astype(np.float32), np.stack([DISC, ~DISC])), ids=str)
def test_npy(tmp_path, array):
    np.save(tmp_path / "mask.npy", array)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npy"), array)


@pytest.mark.parametrize("suffix", (".tif", ".tiff", ".TIFF"))
@pytest.mark.parametrize("array", (DISC.astype(np.uint8), np.stack([DISC, ~DISC]).astype(np.float32)), ids=str)
def test_tiff(tmp_path, array, suffix):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / f"mask{suffix}", array)
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask{suffix}"), array)


def test_black_and_white_images_are_masks(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "mask.tif", (255 * DISC).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.tif")), DISC)


def test_wrong_files_are_refused(tmp_path):
    for name in ("mask.png", "outlines", "True!"):
        with pytest.raises(ValueError, match=r"neither True, False or 'outline' nor a file that ends in .npy, .tif"):
            read_mask(name)
    with pytest.raises(FileNotFoundError, match="no mask file .*missing.npy"):
        read_mask(tmp_path / "missing.npy")
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken.npy cannot be read"):
        read_mask(tmp_path / "broken.npy")
    np.save(tmp_path / "objects.npy", np.array([None, 1]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects.npy cannot be read"):
        read_mask(tmp_path / "objects.npy")
