"""Invalid data and options, and failures: what `ganrec` and `recon` raise, and what they leave as it was."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scaled_blobs import QUICK, N, call, three_sinograms, uniform_theta

import tomopy_ganrec
from tomopy_ganrec import ganrec, recon


@pytest.fixture(scope="module")
def theta():
    return uniform_theta()


@pytest.fixture(scope="module")
def sinograms():
    return three_sinograms()


def test_zero_dimensional_arrays_are_checked_as_what_they_hold(sinograms, theta):
    with pytest.raises(ValueError, match="num_iter=-1 must be"):
        call(sinograms, theta, num_iter=np.array(-1))
    with pytest.raises(TypeError, match="num_iter=2.5 must be"):
        call(sinograms, theta, options={"num_iter": np.array(2.5)})
    with pytest.raises(TypeError, match="options must be a dictionary"):
        call(sinograms, theta, options=np.array(3))


@pytest.mark.parametrize("dimensions", (2, 3))
def test_a_read_only_result_is_refused_before_computing(sinograms, theta, dimensions, monkeypatch):
    def computes(*args, **kwargs):
        raise AssertionError("it began to compute")

    monkeypatch.setattr("tomopy_ganrec.api.run_local", computes)
    tomo, center, out = sinograms, np.full(3, N / 2), np.zeros((3, N, N), np.float32)
    out.setflags(write=False)
    if dimensions == 2:
        tomo, center, out = tomo[0], center[0], out[0]
    with pytest.raises(ValueError, match=r"read-only.*init_recon=array.copy\(\)"):
        ganrec(tomo, center, out, theta, options=QUICK)


def test_an_exception_leaves_the_output_untouched(sinograms, theta):
    out = np.full((3, N, N), 7, np.float32)
    broken = sinograms.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 values.*\(1, 2, 3\)"):
        ganrec(broken, np.full(3, N / 2), out, theta, options=QUICK)
    assert (out == 7).all()


def test_cancelled_and_failing_runs_leave_the_output_untouched(sinograms, theta):
    out = np.full((3, N, N), 1e-6, np.float32)

    def stop(status):
        tomopy_ganrec.cancel()

    with pytest.raises(tomopy_ganrec.Cancelled):
        ganrec(sinograms, np.full(3, N / 2), out, theta, options=dict(QUICK, callback=stop))
    assert (out == np.float32(1e-6)).all()
    # a cancelled run does not stop the next one
    assert call(sinograms[:1], theta, options=QUICK).max() > 0.5


def test_cancel_reaches_a_run_in_another_thread(sinograms, theta):
    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(
            recon, sinograms, theta, sinogram_order=True, num_iter=100000, callback=lambda status: started.set()
        )
        assert started.wait(60)
        tomopy_ganrec.cancel()
        with pytest.raises(tomopy_ganrec.Cancelled):
            job.result(60)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda t, a: ((t, np.rad2deg(a)), {}),
            "spans 0 to 174: these look like degrees, and TomoPy expects radians.*np.deg2rad",
        ),
        (lambda t, a: ((t, a[:-1]), {}), r"theta has shape \(29,\), the data 30"),
        (
            lambda t, a: ((t, np.where(a > 2.9, np.nan, a)), {}),
            "theta holds 2 values that are not finite, the first at index 28",
        ),
        (lambda t, a: ((t, a, [16.0, 16.0]), {}), r"center has shape \(2,\), the data 3 slices"),
        (lambda t, a: ((t, a, np.nan), {}), "center is nan for slice 0"),
        (lambda t, a: ((t, a, 40.0), {}), "center 40 of slice 0 is off the detector of 32 columns"),
        (lambda t, a: ((t, a, -3.0), {}), "off the detector"),
        (lambda t, a: ((t[:0], a), {}), "no slices"),
        (lambda t, a: ((t[:, :, :1], a), {}), "1 column wide"),
        (lambda t, a: ((t[:, :1], a[:1]), {}), "1 projections"),
        (lambda t, a: ((t[0], a), {}), "2 dimensions"),
        (lambda t, a: ((np.where(t > t.max() * 0.99, np.inf, t), a), {}), "NaN or infinite, the first at"),
        (
            lambda t, a: ((t, a), {"init_recon": np.zeros((3, N, N + 1))}),
            r"init_recon has shape \(3, 32, 33\).*\(3, 32, 32\)",
        ),
        (lambda t, a: ((t, a), {"init_recon": np.full((3, N, N), np.nan)}), "init_recon holds values"),
        (lambda t, a: ((t, a), {"num_gridx": 0}), "at least one row"),
        (lambda t, a: ((t, a), {"num_iter": -1}), "num_iter=-1 must be a whole number of at least 0"),
        (lambda t, a: ((t, a), {"algorithm": "sirt"}), "algorithm='sirt'"),
        (lambda t, a: ((t, a), {"device": "tpu"}), "device='tpu' is not"),
    ],
)
def test_bad_values_are_refused(sinograms, theta, change, message):
    arguments, keywords = change(sinograms, theta)
    with pytest.raises(ValueError, match=message):
        recon(*arguments, sinogram_order=True, **keywords)


def test_unknown_options_name_the_nearest(sinograms, theta):
    with pytest.raises(TypeError, match="unknown option 'num_itr': did you mean 'num_iter'"):
        recon(sinograms, theta, sinogram_order=True, num_itr=3)
    with pytest.raises(TypeError, match="did you mean 'levels'"):
        call(sinograms, theta, options={"level": "auto"})
    with pytest.raises(TypeError, match="options must be a dictionary"):
        call(sinograms, theta, options=["num_iter"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there(sinograms, theta):
    with pytest.raises(RuntimeError, match="finds 0 CUDA GPUs.*use device='cpu'"):
        recon(sinograms, theta, sinogram_order=True, device="cuda")


def test_data_that_look_like_transmission_warn(sinograms, theta):
    with pytest.warns(UserWarning, match="look like transmission.*minus_log") as record:
        recon(np.exp(-0.1 * sinograms[:1]), theta, sinogram_order=True, num_iter=0)
    assert len(record) == 1


def test_memory_exhausted_names_the_options_that_help(sinograms, theta, monkeypatch):
    def exhausted(*args, **kwargs):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to allocate "
            "4096 bytes"
        )

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", exhausted)
    with pytest.raises(MemoryError, match=r"3 slices of 32×32.*batch_size=1.*backend='astra'"):
        recon(sinograms, theta, sinogram_order=True)
