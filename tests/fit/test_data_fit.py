"""Comparison of a result with its data: sound scans are explained, faults are reported in one warning."""

import functools
import warnings

import numpy as np
import pytest
import torch

from tomopy_ganrec import recon
from tomopy_ganrec.api import ReconInfo
from tomopy_ganrec.cli import main
from tomopy_ganrec.fit.data_fit import compare_with_data, warn_unexplained
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector

N = 64
FAST = dict(trust_theta=True, quality="fast", sinogram_order=True, return_info=True)


@functools.cache
def scan(name="shale", size=N, wedge=120, photons=None, seed=0):
    """(1, angles, size) line integrals of a phantom drawn four times finer than the detector, and the angles."""
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    case = Case(name, size, str(wedge), photons)
    return case.slice(0, 1, seed)[1][None], AngularRange(str(wedge)).theta


def record_and_warnings(*args, **kwargs):
    """The record of the worst slice, and the warnings of a reconstruction."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, info = recon(*args, **{**FAST, **kwargs})
    worst = max(info.slices, key=lambda record: record.get("misfit") or 0)
    return worst, [str(w.message) for w in caught if w.category is UserWarning]


@pytest.mark.parametrize("photons", (None, 1e4))
@pytest.mark.parametrize("wedge", (150, "51/70"))
@pytest.mark.parametrize("name", ("shale", "foam", "zeolite", "textured"))
def test_sound_scans_are_explained(name, wedge, photons):
    record, messages = record_and_warnings(*scan(name, N, wedge, photons))
    assert record["explained"] is True and record["misfit"] < 0.005 and not messages  # .0026 at most measured


@pytest.mark.parametrize(
    "options",
    (
        dict(reweight_rounds=0),
        dict(nonnegative=False),
        dict(pixel_model="point"),
        dict(num_iter=5, network=False),
        dict(num_iter=0),
    ),
)
def test_sound_scans_are_explained_with_other_options(options):
    record, messages = record_and_warnings(*scan("foam", 32, 120, 1e5), **options)
    assert record["explained"] is True and not messages


def dead_column(data, theta):
    data = data.copy()
    data[..., 25] = 0
    return data, theta


def gains(data, theta):
    """Transmission that was not divided by its flat field, whose columns differ by 30 %."""
    gain = np.random.default_rng(0).uniform(0.7, 1.3, data.shape[2])
    return data - np.log(gain).astype(np.float32) * data.max() / 2, theta


FAULTS = {
    "axis": lambda data, theta: (data, theta, N / 2 + 5),
    "axis the other way": lambda data, theta: (data, theta, N / 2 - 5),
    "unit of the angles": lambda data, theta: (data, np.deg2rad(theta)),
    "order of the angles": lambda data, theta: (data, np.random.default_rng(0).permutation(theta)),
    "dead column": dead_column,
    "gains": gains,
}


@pytest.mark.parametrize("photons", (None, 1e4))
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faults_are_reported_once(fault, photons):
    record, messages = record_and_warnings(*fault(*scan("shale", N, 100, photons)))
    assert record["explained"] is False and len(messages) == 1
    assert "does not explain the data of 1 of 1 slices, slice 0 the least" in messages[0]
    for cause in ("rotation axis", "angles", "flat fields", "wider than the detector", "negative data"):
        assert cause in messages[0]
    assert f"relative residual is {record['residual']:.2g}" in messages[0]
    assert f"leave {record['noise_residual']:.2g}" in messages[0]


def test_the_worst_slice_is_named_among_those_that_are_sound():
    data, theta = scan()
    volume = np.concatenate([data, data, dead_column(data, theta)[0], data, dead_column(data, theta)[0] * 2])
    volume[4, :, 40] = 0
    with pytest.warns(UserWarning, match="data of 2 of 5 slices, slice 4 the least") as caught:
        _, info = recon(volume, theta, batch_size=2, warm_start=0, **FAST)
    assert len(caught) == 1 and [record["explained"] for record in info.slices] == [True, True, False, True, False]
    assert "the data of 2 are not explained, the first is slice 2" in str(info)


@pytest.mark.parametrize(
    "options",
    (
        dict(init="sirt"),
        dict(tv_weight=1.0),
        dict(preset="paper"),
        dict(callback=lambda status: True),
        dict(joint_slices=2),
    ),
)
def test_nothing_is_reported_where_options_decide_how_well_the_data_are_fitted(options):
    data, theta = scan(size=32)
    record, messages = record_and_warnings(data, theta, 20.0, **{"num_iter": 2, **options})
    assert record["explained"] is None and not [m for m in messages if "explain" in m]


def test_records_without_a_comparison_are_passed_over():
    # As earlier versions wrote them.
    slices = [
        {"residual": 0.1, "seconds": {}},
        {"residual": 0.2, "explained": None, "seconds": {}},
    ]
    warn_unexplained(slices, GanrecOptions())
    assert "explained" not in str(ReconInfo(GanrecOptions(), "cpu", slices))


@pytest.mark.parametrize("shape", ((40, 33), (7, 5), (100, 64)))
@pytest.mark.parametrize("factor", (2.0**-100, 1.0, 2.0**100))
def test_numbers_of_the_comparison(shape, factor):
    theta = np.linspace(0, 2, shape[0])
    model = ParallelBeamProjector(shape[1], theta, shape[1], backend="matrix")
    image = torch.ones(2, shape[1], shape[1]) * factor
    sinogram = model.forward_project(torch.ones(2, shape[1], shape[1]))
    sinogram[1] *= 1.25
    exact, off = compare_with_data(model, image, sinogram * factor, [0.0, 0.01 * factor])
    assert exact["misfit"] < 1e-5 and exact["explained"] is True and exact["noise_residual"] == 0
    assert off["misfit"] == pytest.approx(0.2, abs=0.005) and off["explained"] is False
    assert off["noise_residual"] == pytest.approx(0.01 * sinogram[1].numel() ** 0.5 / float(sinogram[1].norm()))


def test_noise_alone_is_no_misfit():
    noise = torch.randn(3, 90, 64, generator=torch.Generator().manual_seed(0))
    model = ParallelBeamProjector(64, np.linspace(0, 3, 90), 64, backend="matrix")
    assert all(record["explained"] for record in compare_with_data(model, torch.zeros(3, 64, 64), noise, [1.0] * 3))


def test_no_signal_is_explained():
    record, messages = record_and_warnings(np.zeros((1, 40, 32), np.float32), np.linspace(0, 3, 40))
    assert record["explained"] is True and record["misfit"] == 0 and not messages


def test_the_command_line_reports_it(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    data, theta = scan()
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.exp(-data.swapaxes(0, 1) * 2 / data.max())
        file["exchange/theta"] = np.rad2deg(theta)
    with pytest.warns(UserWarning, match="does not explain"):
        assert (
            main(f"recon {path} --center 38 --quality fast --out {tmp_path / 'a.h5'} --quiet --reader h5py".split())
            == 0
        )
    assert "the data of 1 are not explained" in capsys.readouterr().out
    assert (
        main(f"recon {path} --quality fast --out {tmp_path / 'b.h5'} --quiet --reader h5py --grid 70x72".split()) == 0
    )
    assert "not explained" not in capsys.readouterr().out
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["exchange/data"].shape == (1, 70, 72)


@pytest.mark.parametrize("text", ("many", "0", "5x-5", "3x4x5"))
def test_a_grid_that_is_not_rows_by_columns(text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["recon", "scan.h5", "--out", "a.h5", "--grid", text])
    assert caught.value.code == 2 and "give ROWSxCOLS" in capsys.readouterr().err
