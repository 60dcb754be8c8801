"""Bounds on attenuation in volumes: of neighbours, kept by a resumed output, found again where they do not fit."""

import json

import numpy as np
import pytest
import solid_objects

from tomopy_ganrec import ganrec, recon

SLICES = 3
OPTIONS = dict(sinogram_order=True, device="cpu", pixel_model="area", mask=True, num_iter=0, return_info=True)


@pytest.fixture(scope="module")
def scan():
    pytest.importorskip("astra")
    return solid_objects.scan(solid_objects.holes, 90, 1e4, 1)


@pytest.fixture(scope="module")
def theta():
    return np.deg2rad(np.arange(90))


@pytest.fixture(scope="module")
def tomo(scan):
    """Three slices alike: (slices, angles, columns)."""
    return np.repeat(scan.sinogram.numpy(), SLICES, 0)


@pytest.fixture(scope="module")
def whole(tomo, theta):
    """The volume, of which every second slice starts from scratch, and its records."""
    image, info = recon(tomo, theta, warm_start=2, **OPTIONS)
    return image, info.slices


def test_a_warm_slice_takes_the_bound_of_its_neighbour(whole):
    image, records = whole
    assert [record["bound_origin"] for record in records] == ["found", "neighbour", "found"]
    bound = records[0]["max_attenuation"]
    assert bound == pytest.approx(solid_objects.SOLID, rel=0.07)
    assert records[1]["max_attenuation"] == pytest.approx(bound, rel=1e-6)
    assert records[1]["bound_rise"] is None and records[1]["warm"]
    assert image.max() <= bound * (1 + 1e-6)  # float32


def test_a_slice_that_attenuates_more_finds_its_own(tomo, theta, whole):
    denser = tomo.copy()
    denser[1] *= 1.2
    image, info = recon(denser, theta, warm_start=2, **OPTIONS)
    bounds = [record["max_attenuation"] for record in info.slices]
    assert [record["bound_origin"] for record in info.slices] == ["found"] * 3 and not info.slices[1]["warm"]
    assert bounds[1] == pytest.approx(1.2 * bounds[0], rel=1e-3)
    assert image[1].max() == pytest.approx(bounds[1], rel=1e-6)


def test_a_bound_given_is_called_given_in_every_slice(tomo, theta):
    image, info = recon(tomo, theta, warm_start=2, max_attenuation=1.0, reweight_rounds=2, **OPTIONS)
    assert [record["bound_origin"] for record in info.slices] == ["given"] * 3
    assert [record["max_attenuation"] for record in info.slices] == pytest.approx([1.0] * 3)
    assert info.slices[1]["warm"] and image.max() <= 1 + 1e-6


def test_without_a_bound_warm_slices_have_none(tomo, theta):
    _, info = recon(tomo, theta, warm_start=2, max_attenuation=None, reweight_rounds=2, **OPTIONS)
    assert [record["max_attenuation"] for record in info.slices] == [None] * 3


def test_a_resumed_volume_has_the_same_bounds(tomo, theta, whole, tmp_path):
    h5py = pytest.importorskip("h5py")
    path, journal = tmp_path / "rec.h5", tmp_path / "rec.h5.progress.jsonl"

    def stop(status):
        if journal.read_text().count("\n") > 1:  # the first line and a batch
            raise KeyboardInterrupt

    options = dict(OPTIONS, warm_start=2, batch_size=1, out=path)
    with pytest.raises(KeyboardInterrupt):
        recon(tomo, theta, callback=stop, **options)
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert entries[0]["identity"]["options"]["max_attenuation"] == "auto"
    assert [record["bound_origin"] for entry in entries[1:] for record in entry["records"]] == ["found"]
    _, info = recon(tomo, theta, **options)
    for record, expected in zip(info.slices, whole[1], strict=True):
        assert record["bound_origin"] == expected["bound_origin"]
        assert record["max_attenuation"] == pytest.approx(expected["max_attenuation"], rel=1e-3)
        assert (record["bound_rise"] is None) == (expected["bound_rise"] is None)
    with h5py.File(path) as file:
        assert np.linalg.norm(file["exchange/data"][:] - whole[0]) < 1e-4 * np.linalg.norm(whole[0])


def test_chunks_of_one_call_find_what_the_whole_finds(tomo, theta, whole):
    """As tomopy.recon cuts a volume: each slice by itself, whatever the chunks are."""
    image = np.zeros((SLICES, solid_objects.SIZE, solid_objects.SIZE), np.float32)
    tomo = tomo * np.float32([1, 1.2, 0.5])[:, None, None]
    for chunk in (slice(0, 1), slice(1, 3)):
        centers = np.full(len(image[chunk]), solid_objects.SIZE / 2)
        ganrec(tomo[chunk], centers, image[chunk], theta, num_iter=0, mask=True, pixel_model="area", device="cpu")
    bound = whole[1][0]["max_attenuation"]
    assert image.max((1, 2)) == pytest.approx([bound, 1.2 * bound, 0.5 * bound], rel=1e-3)


def test_records_of_before_are_neighbours_without_a_bound(tomo, theta, whole, scan):
    import torch

    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.options import GanrecOptions

    before = {name: value for name, value in whole[1][0].items() if "bound" not in name and name != "max_attenuation"}
    init = torch.from_numpy(whole[0][:1].copy())
    result = fit(scan.model, scan.sinogram, GanrecOptions(num_iter=0), init=init, near=[before])
    assert result.info[0]["warm"] and result.info[0]["max_attenuation"] is None
