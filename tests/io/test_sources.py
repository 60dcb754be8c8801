"""Sinograms from memory and from files, a few slices at a time."""

import multiprocessing
import pickle
import warnings

import numpy as np
import pytest

from tomopy_ganrec.io.mapped_file import file_behind
from tomopy_ganrec.io.sources import source_of

SHAPE = (5, 12, 7)  # angles, slices, columns


@pytest.fixture
def data():
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


def same(source, data):
    """Assert that a source reads `data` (angles, slices, columns) whatever slices are asked for."""
    sinograms = data.swapaxes(0, 1).astype(np.float32)
    assert source.shape == sinograms.shape
    for indices in ([3], [2, 3, 4], [1, 4, 7, 10], [0, 1, 5, 6, 11], [7, 2, 2, 9], []):
        found = source.read(np.array(indices, int))
        np.testing.assert_array_equal(found, sinograms[indices])
        assert found.dtype == np.float32 and found.flags.c_contiguous and found.flags.owndata and found.flags.writeable


def again(thing):
    """A pickled copy."""
    return pickle.loads(pickle.dumps(thing))


class Counting:
    """An array-like that notes what is read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, key):
        part = self.array[key]
        self.read.append(part.size)
        return part


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, ">f4"])
def test_arrays_of_any_number_type_and_order(data, dtype):
    data = (100 * data).astype(dtype)
    source = source_of(data)
    same(source, data)
    same(again(source), data)
    same(source_of(data.swapaxes(0, 1), sinogram_order=True), data)
    same(source_of(np.asfortranarray(data)), data)
    assert source.dtype == data.dtype and source.nbytes_in_memory == data.nbytes and source.kind == "array"


def test_lists_tensors_and_sources(data):
    torch = pytest.importorskip("torch")
    same(source_of(data.tolist()), data)
    same(source_of(torch.from_numpy(data)), data)
    source = source_of(data)
    assert source_of(source) is source
    assert "(12, 5, 7)" in repr(source)


def test_the_data_are_not_handed_out(data):
    source = source_of(data.swapaxes(0, 1).copy(), sinogram_order=True)
    before = source.read([1, 2])
    source.read([1, 2])[:] = 7
    np.testing.assert_array_equal(source.read([1, 2]), before)


def test_nothing_is_read_but_the_slices_asked_for(data):
    counting = Counting(data)
    source = source_of(counting)
    assert not counting.read and source.nbytes_in_memory == 0 and source.kind == "Counting"
    source.read([2, 3, 4])
    source.read([1, 4, 7])
    assert counting.read == [3 * 5 * 7, 3 * 5 * 7]  # in one go each
    counting.read.clear()
    source.read([9, 0, 1])
    assert sorted(counting.read) == [35, 70]
    counting.read.clear()
    source.identity()
    assert counting.read == [35, 35, 35]
    same(source, data)


@pytest.mark.parametrize(
    "view",
    [
        lambda m: m,
        lambda m: m[:, 3:9],
        lambda m: m[2:4],
        lambda m: m[::-1, ::2, 1:],
        lambda m: np.asarray(m)[:, 1:],
        lambda m: m.swapaxes(0, 1)[4:9],
        lambda m: m.transpose(2, 1, 0)[1:, ::-3],
    ],
)
@pytest.mark.parametrize(("offset", "order"), [(0, "C"), (8200, "C"), (12, "F")])
def test_views_of_memmaps_are_found_again_in_their_file(tmp_path, data, view, offset, order):
    name = tmp_path / "scan.raw"
    whole = np.memmap(name, np.float32, "w+", offset, SHAPE, order)
    whole[:] = data
    part = view(whole)
    source = source_of(part, sinogram_order=True)
    assert source.kind == "memmap" and source.nbytes_in_memory == 0
    packed = pickle.dumps(source)
    for copy in (pickle.loads(packed), again(pickle.loads(packed))):
        everything = np.arange(len(part))
        np.testing.assert_array_equal(copy.read(everything), part)
        np.testing.assert_array_equal(again(copy).read(everything), part)  # a copy that is open
    whole[:] += 1
    np.testing.assert_array_equal(pickle.loads(packed).read([0])[0], part[0])  # it is the file that is read


def test_arrays_that_only_look_like_memmaps_take_their_content_along(tmp_path, data):
    name = tmp_path / "scan.raw"
    data.tofile(name)
    private = np.memmap(name, np.float32, "c", shape=SHAPE)
    private[:] = 3
    same(again(source_of(private)), np.full(SHAPE, 3))
    picked = np.memmap(name, np.float32, "r", shape=SHAPE)[:, np.arange(12)]  # a copy in memory
    assert file_behind(picked) is None
    same(again(source_of(picked)), data)
    assert source_of(picked).nbytes_in_memory == data.nbytes


def test_a_memmap_whose_file_has_gone_says_so(tmp_path, data):
    name = tmp_path / "scan.raw"
    data.tofile(name)
    packed = pickle.dumps(source_of(np.memmap(name, np.float32, "r", shape=SHAPE)))
    name.unlink()
    with pytest.raises(
        OSError, match=r"slices 2 to 3 of the memory-mapped file .*scan.raw cannot be read: .*No such file"
    ):
        pickle.loads(packed).read([2, 3])


def _read_elsewhere(source, pipe):
    pipe.send(source.read([2, 3]))


def test_hdf5(tmp_path, data):
    h5py = pytest.importorskip("h5py")
    name = tmp_path / "scan.h5"
    with h5py.File(name, "w") as file:
        file.create_dataset("exchange/data", data=data, chunks=(1, 12, 7), compression="gzip")
        file["sinograms"] = data.swapaxes(0, 1)
    with h5py.File(name) as file:
        source = source_of(file["exchange/data"])
        same(source, data)
        same(source_of(file["sinograms"], sinogram_order=True), data)
        assert source.nbytes_in_memory == 0 and source.kind == "hdf5"
        packed = pickle.dumps(source)
        same(again(source), data)
    with pytest.raises(
        OSError,
        match=r"slice 4 of the HDF5 dataset /exchange/data of .*scan.h5 cannot be read: the file has been closed; keep",
    ):
        source.read([4])
    same(pickle.loads(packed), data)  # opens the file by itself
    same(again(pickle.loads(packed)), data)
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_read_elsewhere, args=(pickle.loads(packed), send))
    process.start()
    assert receive.poll(60)
    np.testing.assert_array_equal(receive.recv(), data[:, 2:4].swapaxes(0, 1))
    process.join()
    name.rename(tmp_path / "elsewhere.h5")
    with pytest.raises(OSError, match=r"slice 4 of .*/exchange/data.* cannot be read: .*No such file"):
        pickle.loads(packed).read([4])


def test_hdf5_datasets_that_cannot_be_used(tmp_path, data):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "memory.h5", "w", driver="core", backing_store=False) as file:
        file["data"] = data
        same(source_of(file["data"]), data)
        with pytest.raises(pickle.PicklingError, match="cannot be opened by another process"):
            pickle.dumps(source_of(file["data"]))
        dataset = file["data"]
    with pytest.raises(ValueError, match="a file that has been closed; call from within"):
        source_of(dataset)


def test_zarr(tmp_path, data):
    zarr = pytest.importorskip("zarr")
    array = zarr.open(str(tmp_path / "scan.zarr"), mode="w", shape=SHAPE, chunks=(5, 2, 7), dtype="f4")
    array[:] = data
    source = source_of(array)
    assert source.nbytes_in_memory == 0 and source.kind == "zarr" and "scan.zarr" in source.what
    same(source, data)
    same(again(source), data)


def test_dask_computes_only_the_slices_asked_for(data):
    dask_array = pytest.importorskip("dask.array")
    computed = []

    def block(block_info=None):
        (low, high) = block_info[None]["array-location"][1]
        computed.append((low, high))
        return data[:, low:high]

    array = dask_array.map_blocks(
        block, chunks=((5,), (3, 3, 3, 3), (7,)), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
    )
    source = source_of(array)
    assert not computed and source.nbytes_in_memory == 0 and source.kind == "dask"
    source.read([3, 4, 5])
    assert computed == [(3, 6)]
    same(source, data)
    same(again(source_of(dask_array.from_array(data, chunks=(5, 3, 7)))), data)


def test_dask_leaves_an_active_cluster_alone(data):
    dask_array, distributed = pytest.importorskip("dask.array"), pytest.importorskip("distributed")
    import os

    def here(part):
        return part * 0 + os.getpid()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster itself
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
        ):
            source = source_of(
                dask_array.from_array(data, chunks=(5, 3, 7)).map_blocks(
                    here, dtype=np.int64, meta=np.empty((0, 0, 0), np.int64)
                )
            )
            found = source.read([4])
    assert (found == np.float32(os.getpid())).all()


def test_errors_of_the_storage_name_the_slices(data):
    class Broken(Counting):
        filename = "far/away.xyz"

        def __getitem__(self, key):
            raise KeyError("chunk 3")

    with pytest.raises(
        OSError, match=r"slices 8 to 10 of the Broken of far/away.xyz cannot be read: 'chunk 3'"
    ) as caught:
        source_of(Broken(data)).read([8, 9, 10])
    assert isinstance(caught.value.__cause__, KeyError)

    class Odd(Counting):
        def __getitem__(self, key):
            return self.array

    with pytest.raises(
        OSError, match=r"slice 8 of the Odd cannot be read: the storage gave the shape \(12, 5, 7\) where"
    ):
        source_of(Odd(data)).read([8])


def test_shapes_and_types_that_are_no_projections(data):
    with pytest.raises(
        ValueError, match=r"the data have 2 dimensions, shape \(12, 7\); give \(angles, slices, columns\)"
    ):
        source_of(data[0])
    with pytest.raises(ValueError, match="the data hold no slices"):
        source_of(data[:, :0])
    with pytest.raises(ValueError, match="the data hold 1 projections"):
        source_of(data[:1])
    with pytest.raises(ValueError, match="1 column wide"):
        source_of(data[..., :1])
    with pytest.raises(
        TypeError, match="the array holds complex numbers .complex64.; a reconstruction needs real line integrals"
    ):
        source_of(data.astype(np.complex64))
    for other in (np.full(SHAPE, "x"), np.zeros(SHAPE, bool), np.zeros(SHAPE, object), np.zeros(SHAPE, "m8[s]"), None):
        with pytest.raises(TypeError, match="holds values of type .*; give line integrals as numbers"):
            source_of(other)


def test_slices_that_are_not_there(data):
    source = source_of(data)
    for wrong in ([12], [-1], [3, 40]):
        with pytest.raises(IndexError, match="are not among the 12 of the array"):
            source.read(wrong)
    with pytest.raises(IndexError, match="one-dimensional array of slice numbers"):
        source.read([0.5])
    with pytest.raises(IndexError, match="one-dimensional"):
        source.read(3)


def test_identity_notices_other_data(data):
    known = source_of(data).identity()
    assert known["shape"] == [12, 5, 7] and known["dtype"] == "float32" and len(known["sha256"]) == 64
    assert known == source_of(data.copy()).identity() == source_of(data.swapaxes(0, 1), sinogram_order=True).identity()
    for changed in (0, 6, 11):
        other = data.copy()
        other[2, changed, 3] += 1
        assert source_of(other).identity() != known
    one = source_of(data[:, :1])
    assert one.identity()["shape"] == [1, 5, 7]
