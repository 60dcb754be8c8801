"""The door: TomoPy's way of calling, `recon`, and what bad input gets."""

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tomopy_ganrec
from tomopy_ganrec import GanrecOptions, ganrec, recon
from tomopy_ganrec.projector import ParallelBeamProjector

N, ANGLES = 32, 30
QUICK = {"num_iter": 3, "reweight_rounds": 1}


def blobs(size=N, scale=1.0):
    """An asymmetric object of three Gaussian blobs."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    spots = ((-4, 5, 1.0, 4), (6, -3, 0.6, 3), (2, 8, 0.4, 2))
    return scale * sum(h * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * w**2)) for r, c, h, w in spots).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def theta():
    return np.linspace(0, np.pi, ANGLES, endpoint=False).astype(np.float32)  # as tomopy.recon passes it on


@pytest.fixture(scope="module")
def sinograms(theta):
    """(3, ANGLES, N) of one object, scaled 1, 2 and 3."""
    projector = ParallelBeamProjector(N, theta, N)
    volume = torch.from_numpy(np.stack([blobs(scale=k) for k in (1, 2, 3)]))
    return projector.forward_project(volume).numpy()


def call(tomo, theta, center=None, **kwargs):
    """One chunk, called the way tomopy.recon does."""
    out = np.full((tomo.shape[0], N, N), 1e-6, np.float32)
    ganrec(
        tomo,
        np.full(len(tomo), N / 2 if center is None else center, np.float32),
        out,
        theta,
        num_gridx=N,
        num_gridy=N,
        **kwargs,
    )
    return out


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


# What scripts for TomoPy's other algorithms leave behind: tomopy.astra, tomopy.lprec, the GPU versions of mlem and sirt.
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

    monkeypatch.setattr("tomopy_ganrec.api.reconstruct", computes)
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
    # through the door the array itself carries it, as tomopy.recon(init_recon=…) does
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


# Stacks


def test_a_stack_larger_than_the_volume(sinograms, theta):
    expected = recon(sinograms, theta, sinogram_order=True, joint_slices=3, **QUICK)
    np.testing.assert_array_equal(recon(sinograms, theta, sinogram_order=True, joint_slices=8, **QUICK), expected)
    for k in range(3):  # in their order: they are scaled 1, 2 and 3
        assert expected[k].sum() == pytest.approx((k + 1) * blobs().sum(), rel=0.05)


def test_a_volume_is_cut_into_stacks(sinograms, theta):
    tomo = np.concatenate([sinograms, sinograms[:2]])
    found = recon(tomo, theta, sinogram_order=True, joint_slices=2, **QUICK)
    parts = [
        recon(tomo[s], theta, sinogram_order=True, joint_slices=2, **QUICK)
        for s in (slice(0, 2), slice(2, 4), slice(4, 5))
    ]
    np.testing.assert_array_equal(found, np.concatenate(parts))


def test_stacks_of_different_centres_do_not_mix(sinograms, theta):
    tomo, centers = np.concatenate([sinograms[:2], sinograms[:2]]), [16.0, 16.0, 15.2, 15.2]
    found = recon(tomo, theta, centers, sinogram_order=True, joint_slices=4, **QUICK)
    parts = [
        recon(tomo[s], theta, centers[s], sinogram_order=True, joint_slices=4, **QUICK)
        for s in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_array_equal(found, np.concatenate(parts))


@pytest.mark.filterwarnings("ignore:the projections do not fall to zero")
@pytest.mark.parametrize("centers", ([16.0] * 7, [16.0, 16.0, 15.0, 16.0, 16.0, 16.0, 15.0], [15.0, 16.0] * 3 + [15.0]))
def test_only_neighbours_are_stacked(theta, centers, monkeypatch):
    from tomopy_ganrec.results import FitResult

    seen = []

    def fit(model, sinogram, options, **kwargs):
        seen.append([int(v) for v in sinogram[:, 0, 0]])
        images = sinogram[:, :1, :1].expand(-1, N, N).clone()
        return FitResult(images, images, [{"residual": 0.0}] * len(images))

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", fit)
    tomo = np.arange(7, dtype=np.float32)[:, None, None] * np.ones((1, ANGLES, N), np.float32)
    found = recon(tomo, theta, centers, sinogram_order=True, joint_slices=2)
    assert found[:, 0, 0].tolist() == list(range(7)) and sorted(sum(seen, [])) == list(range(7))
    assert all(len(stack) <= 2 and (np.diff(stack) == 1).all() for stack in seen)
    assert all(len({centers[k] for k in stack}) == 1 for stack in seen)


def test_progress_and_stages_of_all_that_may_be_asked_for(sinograms, theta, capsys, monkeypatch):
    from tomopy_ganrec.fit import wedge_learning

    for name, value in dict(COPIES=4, PLAIN_ITERATIONS=10, ROUNDS=1, ROUND_ITERATIONS=5, TRAINING_STEPS=6).items():
        monkeypatch.setattr(wedge_learning, name, value)
    seen = []
    options = dict(
        QUICK,
        joint_slices=2,
        wedge_rounds=1,
        grid_factor=2,
        uncertainty_samples=2,
        pixel_model="area",
        progress=True,
        callback=seen.append,
    )
    image, info = recon(sinograms[..., :20, :], theta[:20], sinogram_order=True, return_info=True, **options)
    shown = capsys.readouterr().err
    assert list(dict.fromkeys(s.stage for s in seen)) == ["start", "fit", "learn", "uncertainty"]
    assert all(1 <= s.iteration <= s.total for s in seen)
    assert "100%" in shown  # the bar draws ten times a second at most: a short stage may not be seen in it
    shares = [int(part) for part in re.findall(r"(\d+)%", shown)]
    assert shares == sorted(shares)  # it never goes back
    assert np.isfinite(image).all() and all(np.isfinite(s["uncertainty"]).all() for s in info.slices)
    assert "3 slices on" in str(info)


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
            "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes"
        )

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", exhausted)
    with pytest.raises(MemoryError, match=r"3 slices of 32×32.*batch_size=1.*backend='astra'"):
        recon(sinograms, theta, sinogram_order=True)


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


def test_register_without_tomopy_says_where_to_get_it():
    if tomopy_is_installed():
        pytest.skip("TomoPy is installed")
    with pytest.raises(ImportError, match="conda-forge.*tomopy_ganrec.recon"):
        tomopy_ganrec.register()


def test_register_enters_and_leaves_tomopys_tables(monkeypatch):
    tables = SimpleNamespace(extern=SimpleNamespace(), allowed_recon_kwargs={"mlem": ["num_iter"]})
    monkeypatch.setattr("tomopy_ganrec.tomopy_registry._tomopy", lambda: tables)
    tomopy_ganrec.register()
    tomopy_ganrec.register()
    assert tables.extern.c_ganrec is ganrec
    keywords = tables.allowed_recon_kwargs["ganrec"]
    # TomoPy gives its own default to each that it goes through: num_iter=1 would be one
    assert list(keywords) == ["num_gridx", "num_gridy", "options"]
    assert all(
        name in keywords for name in ("num_gridx", "options", "num_iter", "filter_name", "levels", "a misspelt one")
    )
    tomopy_ganrec.unregister()
    tomopy_ganrec.unregister()
    assert tables.allowed_recon_kwargs == {"mlem": ["num_iter"]} and not hasattr(tables.extern, "c_ganrec")


def tomopy_is_installed():
    from importlib.util import find_spec

    return find_spec("tomopy") is not None
