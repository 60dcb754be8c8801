"""The public entry points: TomoPy's way of calling `ganrec`, and `recon`."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scaled_blobs import QUICK, N, blobs, call, three_sinograms, uniform_theta

from tomopy_ganrec import GanrecOptions, ganrec, recon
from tomopy_ganrec.projector import ParallelBeamProjector


@pytest.fixture(scope="module")
def theta():
    return uniform_theta()


@pytest.fixture(scope="module")
def sinograms():
    return three_sinograms()


def test_fills_in_place_in_attenuation_units(sinograms, theta):
    out = call(sinograms, theta, options=QUICK)
    for k in range(3):
        # noise-free and not limited: the total attenuation is fixed by every projection
        assert out[k].sum() == pytest.approx((k + 1) * blobs().sum(), rel=5e-3)
    assert np.corrcoef(out[0].ravel(), blobs().ravel())[0, 1] > 0.98


def test_concurrent_chunks_with_shared_options_and_read_only_input(sinograms, theta):
    tomo = np.concatenate([sinograms, sinograms])
    tomo.setflags(write=False)
    options = dict(QUICK, seed=3)
    before, out = dict(options), np.full((6, N, N), 1e-6, np.float32)
    centers = np.full(6, N / 2, np.float32)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(ganrec, tomo[s], centers[s], out[s], theta, num_gridx=N, num_gridy=N, options=options)
            for s in (slice(0, 4), slice(4, 6))
        ]
        [job.result() for job in jobs]
    assert options == before
    serial = call(tomo, theta, options=options)
    # another chunking: equal up to rounding
    np.testing.assert_allclose(out, serial, atol=1e-4 * serial.max())


def test_two_dimensional_chunk_with_scalar_centre(sinograms, theta):
    out = np.full((N, N), 1e-6, np.float32)
    ganrec(sinograms[0], np.float32(N / 2), out, theta, num_gridx=N, num_gridy=N, options=QUICK)
    np.testing.assert_array_equal(out, call(sinograms[:1], theta, options=QUICK)[0])


def test_keywords_come_before_options_and_tomopy_keywords_pass(sinograms, theta):
    out = call(
        sinograms[:1],
        theta,
        options={"num_iter": 9, "reweight_rounds": 1},
        num_iter=3,
        filter_name="parzen",
        num_block=1,
    )
    np.testing.assert_array_equal(out, call(sinograms[:1], theta, options=QUICK))


# Keywords in scripts for TomoPy's other algorithms: tomopy.astra, tomopy.lprec, the GPU versions of mlem and sirt.
LEFTOVERS = [
    {"method": "SIRT_CUDA", "proj_type": "cuda", "extra_options": {"MinConstraint": 0}},
    {"method": "SART", "proj_type": "linear", "gpu_list": None},
    {"lpmethod": "fbp", "filter_type": "parzen", "interp_type": "cubic", "filter_name": "None", "reg_par": 1},
    {
        "accelerated": True,
        "pool_size": 0,
        "interpolation": "LINEAR",
        "device": "gpu",
        "grid_size": [0, 0, 0],
        "block_size": [32, 32, 1],
    },
    {
        "accelerated": np.array(False),
        "device": "cpu",
        "reg_data": np.zeros((1, N, N), np.float32),
        "num_block": np.int32(1),
        "ind_block": [0, 1],
    },
]


@pytest.mark.parametrize("leftovers", LEFTOVERS, ids=lambda leftovers: next(iter(leftovers)))
def test_leftovers_of_other_algorithms_change_nothing(sinograms, theta, leftovers):
    expected = call(sinograms[:1], theta, options=QUICK)
    for arguments in ({"options": QUICK | leftovers}, QUICK | leftovers, {"options": QUICK} | leftovers):
        np.testing.assert_array_equal(call(sinograms[:1], theta, **arguments), expected)
    with pytest.raises(TypeError, match="unknown option 'proj_tpe'"):
        call(sinograms[:1], theta, options=leftovers | {"proj_tpe": "cuda"})


@pytest.mark.parametrize(
    "given, means",
    [("gpu", "auto"), (np.str_("gpu"), "auto"), (np.array("gpu"), "auto"), ("cpu", "cpu"), ("cuda:1", "cuda:1")],
)
def test_tomopys_word_for_the_gpu(given, means):
    assert GanrecOptions.from_mapping({"device": given}).device == means
    assert GanrecOptions.from_mapping({"device": "cpu"}, {"device": given}).device == means


def test_tomopys_gpu_with_a_list_of_gpus():
    assert GanrecOptions.from_mapping({"device": "gpu", "gpu_list": [0, 1]}).gpu_list == (0, 1)


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_iter", 3),
        ("num_iter", None),
        ("tv_weight", 0.1),
        ("loss", "l2"),
        ("mask", False),
        ("levels", None),
        ("levels", "auto"),
        ("noise", "auto"),
        ("batch_size", 2),
        ("gpu_list", None),
        ("callback", print),
    ],
)
def test_zero_dimensional_arrays_are_what_they_hold(name, value):
    for array in (np.array(value), np.array(value, dtype=object)):
        assert array.ndim == 0
        assert GanrecOptions.from_mapping({name: array}) == GanrecOptions.from_mapping({name: value})
    assert GanrecOptions.from_mapping(np.array({name: value})) == GanrecOptions.from_mapping({name: value})


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
@pytest.mark.parametrize("center", [N / 2, N / 2 + 2.3, N / 2 - 1.6])
def test_centre_conventions(theta, center):
    sinogram = ParallelBeamProjector(N, theta, N, center).forward_project(torch.from_numpy(blobs())[None]).numpy()
    edge = recon(sinogram, theta, center, sinogram_order=True, num_iter=0)
    index = recon(sinogram, theta, center - 0.5, sinogram_order=True, num_iter=0, center_convention="index")
    np.testing.assert_array_equal(edge, index)
    # the same object wherever the axis is: half a pixel off would cost far more
    assert np.abs(edge[0] - blobs()).max() < 0.06
    wrong = recon(sinogram, theta, center - 0.5, sinogram_order=True, num_iter=0)
    assert np.abs(wrong[0] - blobs()).max() > 0.12


def test_a_centre_for_each_slice(theta):
    centers = [15.2, 16.0, 17.4]
    volume = torch.from_numpy(np.stack([blobs()] * 3))
    sinograms = ParallelBeamProjector(N, theta, N, centers).forward_project(volume).numpy()
    out = recon(sinograms, theta, centers, sinogram_order=True, num_iter=0)
    for image in out:
        np.testing.assert_allclose(image, blobs(), atol=0.06)


def test_recon_takes_projection_order_and_other_grids(sinograms, theta):
    out = recon(sinograms.swapaxes(0, 1), theta, **QUICK)
    np.testing.assert_array_equal(out, recon(sinograms, theta, sinogram_order=True, **QUICK))
    assert out.dtype == np.float32 and out.shape == (3, N, N)
    wide = recon(sinograms[:1], theta, sinogram_order=True, num_gridx=N + 6, num_gridy=N + 2, num_iter=0)
    assert wide.shape == (1, N + 6, N + 2)
    # rows are num_gridx: the object sits in the middle of the larger grid
    np.testing.assert_allclose(
        wide[0, 3:-3, 1:-1], recon(sinograms[:1], theta, sinogram_order=True, num_iter=0)[0], atol=0.05
    )


def test_recon_info(sinograms, theta):
    out, info = recon(sinograms, theta, sinogram_order=True, return_info=True, options=QUICK)
    assert isinstance(info.options, GanrecOptions) and info.options.num_iter == 3 and info.device in ("cpu", "cuda")
    assert len(info.slices) == 3
    for k, record in enumerate(info.slices):
        model = ParallelBeamProjector(N, theta, N).forward_project(torch.from_numpy(out[k : k + 1])).numpy()[0]
        # the residual in the record is that of the image that is returned
        assert record["residual"] == pytest.approx(
            np.linalg.norm(model - sinograms[k]) / np.linalg.norm(sinograms[k]), rel=1e-2
        )
        assert (
            record["stopped"] == "finished"
            and record["backend"] == "matrix"
            and len(record["history"]["objective"]) == 4
        )
        assert set(record["seconds"]) == {"start", "fit"} and record["center"] == N / 2
    assert "3 slices" in str(info)


def test_recon_does_not_change_its_input(sinograms, theta):
    tomo, init = sinograms.copy(), np.zeros((3, N, N), np.float32)
    recon(tomo, theta, sinogram_order=True, init_recon=init, **QUICK)
    np.testing.assert_array_equal(tomo, sinograms)
    assert not init.any()


def test_init_recon_is_used(sinograms, theta):
    init = np.stack([blobs(scale=k) for k in (1, 2, 3)])
    out = recon(sinograms, theta, sinogram_order=True, init_recon=init, init="none", num_iter=0, mask=False)
    np.testing.assert_allclose(out, init, rtol=1e-6)
    # as with tomopy.recon(init_recon=…), the array for the result holds it
    array = init.copy()
    ganrec(sinograms, np.full(3, N / 2), array, theta, options={"init": "none", "num_iter": 0, "mask": False})
    np.testing.assert_allclose(array, init, rtol=1e-6)


def test_threads_are_given_back(sinograms, theta):
    before = torch.get_num_threads()
    recon(sinograms[:1], theta, sinogram_order=True, ncore=1, nchunk=1, num_iter=0)
    assert torch.get_num_threads() == before


def test_progress_bar_ends_full(sinograms, theta, capsys):
    recon(sinograms, theta, sinogram_order=True, progress=True, batch_size=2, **QUICK)
    assert "100%" in capsys.readouterr().err
    recon(sinograms, theta, sinogram_order=True, **QUICK)
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out == ""


def test_works_under_the_callers_no_grad_and_float64_default(sinograms, theta):
    expected = recon(sinograms[:1], theta, sinogram_order=True, **QUICK)
    state = torch.get_rng_state()
    with torch.no_grad():
        np.testing.assert_array_equal(recon(sinograms[:1], theta, sinogram_order=True, **QUICK), expected)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(recon(sinograms[:1], theta, sinogram_order=True, **QUICK), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


def test_environment_is_left_alone(sinograms, theta):
    before = dict(os.environ)
    call(sinograms[:1], theta, options=QUICK)
    assert dict(os.environ) == before
