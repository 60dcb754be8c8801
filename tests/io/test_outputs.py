"""Outputs in memory, those that an argument stands for, and the files of `write_slices`."""

import pickle

import numpy as np
import pytest
from outputs_on_disk import SHAPE, begun

from tomopy_ganrec import io
from tomopy_ganrec.io.outputs import output_of

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")


def test_an_array_in_memory_and_a_given_one(volume, tmp_path):
    given = np.zeros((*SHAPE[:2], 8), np.float32)[..., ::2]
    mapped = np.memmap(tmp_path / "out.raw", np.float32, "w+", 256, SHAPE)
    for out in (None, given, mapped):
        output = begun(out)
        assert output.shared == (out is mapped)
        assert not output.done.any() and output.records == [None] * 6
        output.write([4, 1], volume[[4, 1]])
        record = {"history": np.arange(3)}
        output.mark([4, 1], [record, {}])
        assert output.done.tolist() == [False, True, False, False, True, False] and output.records[4] is record
        np.testing.assert_array_equal(output.read(4), volume[4])
        assert output.result().dtype == np.float32 and (out is None or output.result() is out)
        output.close()
        if out is mapped:
            pickle.loads(pickle.dumps(output)).write([0], volume[:1])
            np.testing.assert_array_equal(mapped[0], volume[0])
        else:
            with pytest.raises(pickle.PicklingError, match="cannot be written to by another process"):
                pickle.dumps(output)


def test_arrays_and_other_things_that_cannot_be_used(tmp_path):
    read_only = np.zeros(SHAPE, np.float32)
    read_only.flags.writeable = False
    for wrong, reason in (
        (np.zeros(SHAPE), "float64"),
        (np.zeros((6, 4, 5), np.float32), r"\(6, 4, 5\) float32"),
        (read_only, "float32, read-only"),
    ):
        with pytest.raises(
            ValueError,
            match=rf"the array for the result is .*{reason}; give \(6, 5, 4\) float32 that can be written to",
        ):
            output_of(wrong, SHAPE)
    for wrong in (3, "", [1]):
        with pytest.raises(TypeError, match="give None for an array, a file ending in .h5"):
            output_of(wrong, SHAPE)
    with pytest.raises(ValueError, match=r"\(0, 5, 4\); it needs"):
        output_of(None, (0, 5, 4))
    with pytest.raises(
        MemoryError, match="6 slices of 100000000×100000000 needs .* GiB, more than there is; write it to disk"
    ):
        output_of(None, (6, 10**8, 10**8))


def test_the_same_files_as_write_slices(volume, tmp_path):
    for name in ("new.h5", "tiffs"):
        output = begun(tmp_path / name, first=7)
        output.write(np.array([3, 1, 2, 0]), volume[[3, 1, 2, 0]].astype(np.float64))
        output.write([4, 5], volume[4:])
        for k in range(6):
            np.testing.assert_array_equal(output.read(k), volume[k])
        assert output.result() == tmp_path / name and output.shared
    io.write_slices(volume, tmp_path / "old.h5", first=7)
    with h5py.File(tmp_path / "new.h5") as new, h5py.File(tmp_path / "old.h5") as old:
        np.testing.assert_array_equal(new["exchange/data"][:], old["exchange/data"][:])
        assert dict(new["exchange/data"].attrs) == dict(old["exchange/data"].attrs)
        assert new["exchange/data"].dtype == np.float32 and new["exchange/data"].chunks is None
    names = io.write_slices(volume, tmp_path / "old", first=7)
    assert sorted(p.name for p in names) == sorted(p.name for p in (tmp_path / "tiffs").glob("*.tiff"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "tiffs" / "recon_00010.tiff"), volume[3])
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".part")]


@pytest.mark.parametrize("out", ("a\0b.h5", "a\0b", "a/\0/c.h5"))
def test_names_with_a_zero_byte_are_refused_in_our_words(out):
    with pytest.raises(ValueError, match="the name of a file holds no zero byte"):
        output_of(out, (2, 8, 8))
