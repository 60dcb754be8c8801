"""The projectors on a CUDA GPU against the matrix on the CPU.

ASTRA's GPU kernels interpolate in textures of 8-bit fractions and project back pixel by pixel: they agree with the matrix on smooth data
only, to about 1e-3 forward and 1 to 2 % back.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.projector.astra_cuda import require_cuda

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]

THETA = np.deg2rad(np.arange(0.0, 180.0, 1.5))
GEOMETRIES = {
    "square": dict(size=96, theta=THETA, columns=96),
    "off-centre": dict(size=96, theta=THETA, columns=100, center=47.3),
    "wide": dict(size=(80, 100), theta=THETA, columns=104, center=53.6),
    "tall": dict(size=(101, 84), theta=THETA[::-1].copy(), columns=105, center=50.0),
    "fine": dict(size=(190, 184), theta=THETA, columns=96, center=48.4, pixel_size=0.5, rays_per_bin=2),
}
# Gaussian blobs without any symmetry: row and column from the axis (in detector columns), standard deviation, height.
BLOBS = ((-14.0, 6.0, 4.0, 1.0), (9.0, 15.0, 3.5, 0.7), (3.0, -17.0, 5.0, 0.5))

geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


@pytest.fixture
def astra():
    module = pytest.importorskip("astra")
    if not module.use_cuda():
        pytest.skip("ASTRA finds no CUDA GPU")
    return module


def difference(value, truth):
    """Relative L2 difference, in float64 on the CPU."""
    value, truth = (torch.as_tensor(a).detach().to("cpu", torch.float64) for a in (value, truth))
    return float((value - truth).norm() / truth.norm())


def on_cpu(geometry):
    return ParallelBeamProjector(**geometry, backend="matrix")


def on_gpu(geometry, backend="astra_cuda"):
    return ParallelBeamProjector(**geometry, backend=backend, device="cuda")


def blobs(geometry, batch=3):
    """(B, rows, cols): the first slice has the heights in BLOBS, each other one its own, so that a mix-up of slices shows."""
    size, pixel = geometry["size"], geometry.get("pixel_size", 1.0)
    y, x = ((torch.arange(n) - (n - 1) / 2) * pixel for n in ((size, size) if isinstance(size, int) else size))
    parts = [a * torch.exp(-((y[:, None] - row) ** 2 + (x - col) ** 2) / (2 * s**2)) for row, col, s, a in BLOBS]
    return torch.stack([sum(part * (1 + k * (j + 1) % 3) for j, part in enumerate(parts)) for k in range(batch)])


def smooth_pair(geometry, batch=3):
    """Images and sinograms as smooth as a residual of the fit, both from the blobs."""
    x = blobs(geometry, batch)
    return x, on_cpu(geometry).forward_project(x)


def blob_sinogram(geometry):
    """Analytic, of the heights in BLOBS: a blob at (row, col) is seen at t = col·cos θ − row·sin θ, column d at t = d + 0.5 − center."""
    columns = geometry["columns"]
    t, theta = np.arange(columns) + 0.5 - geometry.get("center", columns / 2), geometry["theta"][:, None]
    shifts = [t - col * np.cos(theta) + row * np.sin(theta) for row, col, _, _ in BLOBS]
    return sum(
        a * s * np.sqrt(2 * np.pi) * np.exp(-(d**2) / (2 * s**2)) for d, (_, _, s, a) in zip(shifts, BLOBS, strict=True)
    )


# Against the CPU


@geometries
def test_matrix_on_the_gpu(geometry):
    x, y = smooth_pair(geometry)
    projector = on_gpu(geometry, "matrix")
    for batch in (1, 3):
        forward, back = projector.forward_project(x[:batch].cuda()), projector.back_project(y[:batch].cuda())
        assert forward.is_cuda and forward.is_contiguous() and back.is_cuda and back.is_contiguous()
        # The same weights, summed in another order: float32.
        assert difference(forward, on_cpu(geometry).forward_project(x[:batch])) <= 1e-5
        assert difference(back, on_cpu(geometry).back_project(y[:batch])) <= 1e-5


@geometries
def test_fourier_on_the_gpu(geometry):
    x, y = smooth_pair(geometry)
    projector, cpu = on_gpu(geometry, "fourier"), ParallelBeamProjector(**geometry, backend="fourier")
    for batch in (1, 3):
        forward, back = projector.forward_project(x[:batch].cuda()), projector.back_project(y[:batch].cuda())
        assert forward.is_cuda and forward.is_contiguous() and back.is_cuda and back.is_contiguous()
        # Other FFTs, sums in another order: float32.
        assert difference(forward, cpu.forward_project(x[:batch])) <= 1e-5
        assert difference(back, cpu.back_project(y[:batch])) <= 1e-5


@geometries
@pytest.mark.parametrize("backend", ["matrix", "fourier"])
def test_matrix_on_the_gpu_is_an_adjoint_pair(geometry, backend):
    projector = on_gpu(geometry, backend)
    x = torch.rand(2, *projector.domain_shape, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
    y = torch.rand(2, *projector.range_shape, generator=torch.Generator().manual_seed(1)).cuda()
    forward, back = projector.forward_project(x), projector.back_project(y)
    left, right = (forward.detach().double() * y.double()).sum(), (x.detach().double() * back.double()).sum()
    assert abs(float(left - right)) <= 1e-6 * float(left)  # float32 rounding of the sums
    forward.backward(y)
    assert difference(x.grad, back) <= 1e-6  # the same product; cuSPARSE need not add in the same order twice


@pytest.mark.parametrize("backend", ["matrix", "fourier"])
def test_float64_passes_gradcheck(backend):
    projector = ParallelBeamProjector((3, 4), [2.1, 0.4], 5, 2.3, backend=backend, device="cuda", dtype=torch.float64)
    x = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
    assert torch.autograd.gradcheck(
        projector.forward_project, x, nondet_tol=1e-12
    )  # cuSPARSE's order of summation may vary


@geometries
def test_astra_cuda_against_the_matrix(astra, geometry):
    x, y = smooth_pair(geometry)
    projector = on_gpu(geometry)
    forward, back = projector.forward_project(x.cuda()), projector.back_project(y.cuda())
    assert projector.backend == "astra_cuda"
    assert forward.is_cuda and forward.is_contiguous() and tuple(forward.shape) == (3, *projector.range_shape)
    assert back.is_cuda and back.is_contiguous() and tuple(back.shape) == (3, *projector.domain_shape)
    # Both Joseph's method, ASTRA's with texture interpolation of 8-bit fractions.
    assert difference(forward, on_cpu(geometry).forward_project(x)) <= 2e-3
    # Pixel-driven against the transpose of a ray-driven projector: 1.0e-2 on these data in an emulation.
    assert difference(back, on_cpu(geometry).back_project(y)) <= 3e-2


@geometries
@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_orientation_and_centre(astra, geometry, backend):
    y = on_gpu(geometry, backend).forward_project(blobs(geometry, 1).cuda())
    # Interpolation widens a blob by 1/6 px² of variance at most, 6e-3 for 3.5 px; a flip or half a column would be 0.1 and more.
    assert difference(y[0], blob_sinogram(geometry)) <= 7e-3


def test_one_slice_and_many(astra):
    geometry = GEOMETRIES["wide"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry, 5)
    x, y = x.cuda(), y.cuda()
    for k in range(5):
        # Slices don't touch: only the third texture coordinate differs, whose fraction is zero.
        assert difference(projector.forward_project(x)[k], projector.forward_project(x[k : k + 1])[0]) <= 1e-5
        assert difference(projector.back_project(y)[k], projector.back_project(y[k : k + 1])[0]) <= 1e-5


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_centres_by_slice(astra, backend):
    geometry = GEOMETRIES["wide"] | {"center": np.array([52.0, 47.25, 52.0])}
    x, y = smooth_pair(geometry)
    projector = on_gpu(geometry, backend)
    assert (
        difference(projector.forward_project(x.cuda()), on_cpu(geometry).forward_project(x)) <= 2e-3
    )  # as for one centre
    assert difference(projector.back_project(y.cuda()), on_cpu(geometry).back_project(y)) <= 3e-2


# Memory, streams and threads


def test_what_lay_in_memory_before_does_not_matter(astra):
    geometry = GEOMETRIES["fine"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry)
    x, y = x.cuda(), y.cuda()
    clean = projector.forward_project(x), projector.back_project(y)
    for op, data, expected in ((projector.forward_project, x, clean[0]), (projector.back_project, y, clean[1])):
        junk = [torch.full_like(expected, torch.nan) for _ in range(3)]  # freed, it is what torch.empty hands out next
        del junk
        assert difference(op(data), expected) <= 1e-6  # the same computation


def test_the_input_is_left_alone(astra):
    geometry = GEOMETRIES["square"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry)
    x, y = x.cuda(), y.cuda()
    before = x.clone(), y.clone()
    projector.forward_project(x), projector.back_project(y)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_a_side_stream_gives_the_same(astra, backend):
    geometry = GEOMETRIES["square"]
    projector, (x, y) = on_gpu(geometry, backend), smooth_pair(geometry, 8)
    x, y = x.cuda(), y.cuda()
    expected = projector.forward_project(x * 2) * 3, projector.back_project(y * 2) * 3
    work, stream = torch.rand(2048, 2048, device="cuda"), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(20):  # the input comes late: a projection that doesn't wait for this stream reads something else
            work = torch.nn.functional.normalize(work @ work)
        late = 2 + 0 * work.sum()
        results = projector.forward_project(x * late) * 3, projector.back_project(y * late) * 3
    stream.synchronize()
    for result, truth in zip(results, expected, strict=True):
        assert difference(result, truth) <= 1e-6  # the same computation


def test_two_geometries_from_two_threads_at_once(astra):
    cases = [
        (on_gpu(GEOMETRIES[name]), *(a.cuda() for a in smooth_pair(GEOMETRIES[name])))
        for name in ("off-centre", "tall")
    ]
    expected = [(p.forward_project(x), p.back_project(y)) for p, x, y in cases]

    def project(k):
        projector, x, y = cases[k % 2]
        return max(
            difference(a, b)
            for a, b in zip((projector.forward_project(x), projector.back_project(y)), expected[k % 2], strict=True)
        )

    with ThreadPoolExecutor(2) as pool:
        # The same computation: a geometry of the other thread would be 0.1 and more.
        assert max(pool.map(project, range(60))) <= 1e-6


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_exhausted_memory_is_never_silent(astra, direction):
    geometry = dict(size=1024, theta=THETA[:4] if direction == "forward" else np.linspace(0, np.pi, 1024), columns=1024)
    projector = on_gpu(geometry)
    op, shape = (
        (projector.forward_project, projector.domain_shape)
        if direction == "forward"
        else (projector.back_project, projector.range_shape)
    )
    data = torch.ones(64, *shape, device="cuda")  # ASTRA copies its 256 MiB into a texture
    expected = op(data).cpu()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    room = torch.empty_like(
        expected, device="cuda"
    )  # freed below, it stays torch's: the output fits, ASTRA's texture does not
    hog = torch.empty(max(torch.cuda.mem_get_info()[0] - 64 * 2**20, 1), dtype=torch.uint8, device="cuda")
    del room
    try:
        result = op(data).cpu()
    except RuntimeError as error:
        assert "memory" in str(error)  # torch's own message, or ours
    else:
        assert difference(result, expected) <= 1e-5  # in pieces, if ASTRA can; never something else
    finally:
        del hog
        torch.cuda.empty_cache()
    assert difference(op(data).cpu(), expected) <= 1e-6  # and it recovers


# Derivatives


def test_gradient_through_astra_cuda(astra):
    geometry = GEOMETRIES["wide"]
    projector, cpu, (x, y) = on_gpu(geometry), on_cpu(geometry), smooth_pair(geometry)
    guess = torch.full_like(x, 0.1).cuda().requires_grad_()
    residual = projector.forward_project(guess) - y.cuda()
    (residual.square().sum() / 2).backward()
    assert difference(guess.grad, projector.back_project(residual.detach())) <= 1e-6  # the same computation
    truth = cpu.back_project(cpu.forward_project(torch.full_like(x, 0.1)) - y)
    assert difference(guess.grad, truth) <= 3e-2  # 1.1e-2 in an emulation; as for the back projection


def test_descent_along_the_gradient(astra):
    geometry = GEOMETRIES["square"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry)
    guess, y = torch.zeros_like(x).cuda().requires_grad_(), y.cuda()
    step, losses = 1.0 / (len(THETA) * 96), []  # below 2 over the square of the operator's norm
    for _ in range(10):
        loss = (projector.forward_project(guess) - y).square().sum() / 2
        losses.append(float(loss.detach()))
        (grad,) = torch.autograd.grad(loss, guess)
        guess = (guess - step * grad).detach().requires_grad_()
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_expanded_and_transposed_gradients(astra, backend):
    projector = on_gpu(GEOMETRIES["tall"], backend)
    x = blobs(GEOMETRIES["tall"]).cuda()
    stored = x.mT.contiguous().requires_grad_()
    y = projector.forward_project(stored.mT)
    assert difference(y, projector.forward_project(x)) <= 1e-6  # the same computation, here and below
    y.sum().backward()
    assert difference(stored.grad.mT, projector.back_project(torch.ones_like(y))) <= 1e-6


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_autocast(astra, backend):
    projector = on_gpu(GEOMETRIES["square"], backend)
    x = blobs(GEOMETRIES["square"]).cuda().bfloat16().requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        y = projector.forward_project(x)
    y.square().sum().backward()
    assert y.dtype == torch.float32 and x.grad.dtype == torch.bfloat16 and bool(torch.isfinite(x.grad).all())
    assert difference(y, projector.forward_project(x.detach().float())) <= 1e-6  # the same computation


# Choice and errors


def test_auto_on_the_gpu(astra, caplog):
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        small = on_gpu(GEOMETRIES["square"], "auto")
        large = ParallelBeamProjector(**GEOMETRIES["square"], device="cuda", memory_limit=1e3)
    assert (small.backend, large.backend) == ("matrix", "astra_cuda")
    assert [r.levelname for r in caplog.records] == ["INFO", "INFO"] and "cuda" in caplog.text


def test_moving_between_devices(astra):
    geometry = GEOMETRIES["square"]
    x = blobs(geometry)
    there = on_cpu(geometry).to("cuda")
    assert there.device.type == "cuda" and there.device.index is not None
    back = there.to("cpu")
    assert torch.equal(back.forward_project(x), on_cpu(geometry).forward_project(x))
    with pytest.raises(RuntimeError, match="on a GPU"):
        on_gpu(geometry).to("cpu")


def test_wrong_device_and_dtype(astra):
    projector = on_gpu(GEOMETRIES["square"])
    with pytest.raises(ValueError, match="is on cpu, the projector on cuda"):
        projector.forward_project(torch.zeros(1, 96, 96))
    with pytest.raises(TypeError, match="float32"):
        projector.forward_project(torch.zeros(1, 96, 96, dtype=torch.float64, device="cuda"))
    with pytest.raises(ValueError, match="float32.*backend='matrix'"):
        ParallelBeamProjector(**GEOMETRIES["square"], backend="astra_cuda", device="cuda", dtype=torch.float64)
    with pytest.raises(ValueError, match="on the CPU"):
        ParallelBeamProjector(**GEOMETRIES["square"], backend="astra", device="cuda")


def test_a_usable_gpu_is_accepted(astra):
    assert require_cuda(torch.device("cuda")) is astra


@pytest.mark.parametrize(
    "name",
    ["fbp", "astra-mlem", "astra-sirt", "astra-sart", "mlem", "tv", "ganrec", "ganrec-levels", "gridrec", "pml_hybrid"],
)
def test_benchmark_methods_agree_with_the_cpu(astra, name):
    from tomopy_ganrec import metrics
    from tomopy_ganrec.benchmark.cases import AngularRange, Case
    from tomopy_ganrec.benchmark.methods import Problem, methods, reconstruct

    method = methods()[name]
    if method.unavailable:
        pytest.skip(method.unavailable)
    truth, sinogram = Case("shale", 96, "120", protocol="pixel").slice()
    score = {}
    for device in ("cpu", "cuda"):
        problem = Problem(
            ParallelBeamProjector(96, AngularRange("120").theta, 96, device=device),
            torch.from_numpy(sinogram[None]).to(device),
        )
        score[device] = metrics.mssim(truth, reconstruct(method, problem)[0])
    # ASTRA's back projection on a GPU is not the CPU's; a wrong axis or scale costs 0.05 and more
    assert score["cuda"] == pytest.approx(score["cpu"], abs=0.02)


# What quality='best' adds


@pytest.fixture(scope="module")
def subpixel():
    """64² shale over 120°, noise-free, with structure below the pixel: truth, sinogram and angles."""
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    return *Case("shale", 64, "120", None).slice(), AngularRange("120").theta


def reconstruct_on(device, sinograms, theta, **options):
    from tomopy_ganrec import recon

    return recon(np.asarray(sinograms), theta, sinogram_order=True, device=device, return_info=True, **options)


def test_best_agrees_with_the_cpu(subpixel):
    from tomopy_ganrec import metrics

    truth, sinogram, theta = subpixel
    images = {
        device: reconstruct_on(device, sinogram[None], theta, quality="best", wedge_rounds=1)[0][0]
        for device in ("cpu", "cuda")
    }
    score = {device: metrics.mssim(truth, image) for device, image in images.items()}
    # The requirement. The same seeds draw the same copies, noise and weights on the CPU; training amplifies sums in another order.
    assert score["cuda"] == pytest.approx(score["cpu"], abs=0.01)


def test_slices_learn_each_on_its_own_on_the_gpu(subpixel):
    """On a GPU slices are fitted eight at once: without a stack they must not be taught together."""
    from tomopy_ganrec import metrics

    truth, sinogram, theta = subpixel
    other = np.ascontiguousarray(sinogram[:, ::-1])  # the object mirrored in its axis
    options = dict(pixel_model="area", wedge_rounds=1)
    together = reconstruct_on("cuda", np.stack([sinogram, other, other, other]), theta, **options)[0][0]
    alone = reconstruct_on("cuda", sinogram[None], theta, **options)[0][0]
    assert metrics.mssim(truth, together) == pytest.approx(metrics.mssim(truth, alone), abs=0.01)


def test_spread_on_the_gpu(subpixel):
    truth, sinogram, theta = subpixel
    found = {}
    for device in ("cpu", "cuda"):
        info = reconstruct_on(
            device,
            sinogram[None],
            theta,
            num_iter=0,
            reweight_rounds=1,
            pixel_model="area",
            noise=0.05,
            uncertainty_samples=4,
        )[1]
        found[device] = info.slices[0]["uncertainty"]
    assert isinstance(found["cuda"], np.ndarray) and found["cuda"].shape == (64, 64)
    # The same noise, drawn on the CPU; sums in another order.
    assert difference(found["cuda"], found["cpu"]) <= 0.05


def test_stack_on_the_gpu(subpixel):
    truth, sinogram, theta = subpixel
    noisy = sinogram + 0.2 * np.random.default_rng(0).standard_normal((3, *sinogram.shape)).astype(np.float32)
    images = {
        device: reconstruct_on(device, noisy, theta, joint_slices=3, pixel_model="area", reweight_rounds=2)[0]
        for device in ("cpu", "cuda")
    }
    # A convex problem twice reweighted, in float32 with sums in another order.
    assert difference(images["cuda"], images["cpu"]) <= 1e-2
    taught, info = reconstruct_on(
        "cuda",
        noisy,
        theta,
        joint_slices=3,
        pixel_model="area",
        reweight_rounds=1,
        wedge_rounds=1,
        grid_factor=2,
        uncertainty_samples=2,
    )
    assert np.isfinite(taught).all() and all(np.isfinite(s["uncertainty"]).all() for s in info.slices)


def test_benchmark_command_on_the_gpu(tmp_path):
    import json

    from tomopy_ganrec.cli import main

    words = "benchmark --size 64 --ranges 120 --methods fbp,gridrec,mlem,tv,ganrec --device cuda --quiet --out"
    assert main([*words.split(), str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    gpu = torch.cuda.get_device_name()
    assert {row["device"] == gpu for row in rows if row["method"] != "gridrec"} == {True}
    assert not [
        row for row in rows if row["method"] == "gridrec" and row["device"] == gpu
    ]  # it runs on the CPU, and says so


# Whole volumes


@pytest.fixture(scope="module")
def scan(subpixel):
    """Ten slices of the same rock, a few per cent brighter each: sinograms and angles."""
    return (np.stack([subpixel[1]] * 10) * (1 + 0.03 * np.arange(10, dtype=np.float32))[:, None, None]).astype(
        np.float32
    ), subpixel[2]


def test_all_gpus_share_the_slices_and_give_what_one_gives(scan):
    gpus = list(range(torch.cuda.device_count()))
    options = dict(num_iter=10, reweight_rounds=2, pixel_model="area", warm_start=4, batch_size=2)
    one = reconstruct_on("cuda", *scan, **options)[0]
    image, info = reconstruct_on("auto", *scan, gpu_list=gpus, **options)
    assert {s["device"] for s in info.slices} <= {f"cuda:{k}" for k in gpus}
    assert max(difference(a, b) for a, b in zip(image, one, strict=True)) <= 1e-4  # the requirement


@pytest.mark.parametrize("batch", (1, 3))
def test_a_slice_does_not_depend_on_its_batch_on_the_gpu(scan, batch):
    options = dict(pixel_model="area", warm_start=0)
    expected = reconstruct_on("cuda", *scan, batch_size=10, **options)[0]
    found = reconstruct_on("cuda", *scan, batch_size=batch, **options)[0]
    assert max(difference(a, b) for a, b in zip(found, expected, strict=True)) <= 1e-4  # the requirement


def test_estimate_on_the_gpu():
    from tomopy_ganrec import estimate_memory

    angles, size = 120, 256
    theta = np.deg2rad(np.arange(angles))
    x = np.linspace(-1, 1, size, dtype=np.float32)
    tomo = np.broadcast_to(size / 2 * np.sqrt(np.clip(1 - x * x, 0, None)), (8, angles, size)).astype(np.float32)
    options = dict(num_iter=3, reweight_rounds=1, batch_size=8, backend="matrix", warm_start=0)
    estimate = estimate_memory(tomo.shape, options | dict(device="cuda"), sinogram_order=True, out="rec.h5")
    reconstruct_on(
        "cuda", tomo[:2, ::8], theta[::8], num_iter=1, reweight_rounds=1
    )  # what the libraries take for themselves
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    reconstruct_on("cuda", tomo, theta, **options)
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(
        estimate.total, rel=0.25
    )  # as its docstring promises


def test_a_full_gpu_gets_half_of_the_slices(scan):
    from tomopy_ganrec import estimate_memory

    tomo, theta = scan
    options = dict(num_iter=3, reweight_rounds=1, pixel_model="point", warm_start=0)
    expected = reconstruct_on("cuda", tomo, theta, batch_size=2, **options)[0]
    at_work = [
        estimate_memory(tomo.shape, options | dict(batch_size=n), sinogram_order=True, out="x.h5").slices_at_work
        for n in (5, 10)
    ]
    torch.cuda.empty_cache()
    hog = torch.empty(
        int(max(torch.cuda.mem_get_info()[0] - sum(at_work) / 2 - 16 * 2**20, 1)), dtype=torch.uint8, device="cuda"
    )
    try:
        with pytest.warns(RuntimeWarning, match="does not hold 10 slices: going on with 5 at a time"):
            found = reconstruct_on("cuda", tomo, theta, batch_size=10, **options)[0]
    finally:
        del hog
        torch.cuda.empty_cache()
    assert max(difference(a, b) for a, b in zip(found, expected, strict=True)) <= 1e-4  # as for any batch


# Recorded iterations


def never_recorded(monkeypatch):
    monkeypatch.setattr("tomopy_ganrec.solvers.cuda_graph.WARM_UP", 10**9)


def recordings(monkeypatch):
    """How often an iteration is recorded, and what could not be."""
    from tomopy_ganrec.solvers.cuda_graph import CudaGraphStep

    made, record = [], CudaGraphStep._record

    def counted(self):
        record(self)
        made.append(self._graph is not None)

    monkeypatch.setattr(CudaGraphStep, "_record", counted)
    return made


@pytest.mark.parametrize("backend", ["matrix", "fourier"])
@pytest.mark.parametrize(
    "options", [{}, dict(wedge_tv_weight=0.7), dict(across=1.0), dict(nonnegative=False, mask=None)], ids=str
)
def test_recorded_total_variation_is_the_same(monkeypatch, backend, options):
    from tomopy_ganrec.solvers.forward_model import field_of_view
    from tomopy_ganrec.solvers.reweighting import reweighted_rounds
    from tomopy_ganrec.solvers.total_variation import TotalVariation

    projector, (_, y) = on_gpu(GEOMETRIES["square"], backend), smooth_pair(GEOMETRIES["square"])
    options = dict(mask=field_of_view(projector, "cuda")) | options
    found = []
    for recorded in (True, False):
        with monkeypatch.context() as patch:
            made = recordings(patch)
            if not recorded:
                never_recorded(patch)
            solver = TotalVariation(projector, y.cuda(), **options)
            first = solver.run(1e-3, 10)
            kept = first.clone()
            image = reweighted_rounds(solver, 1e-3, 0.05, 3, 10)[0]
            assert made == ([True] if recorded else [])  # once for all rounds of a solver
            assert torch.equal(first, kept)  # what has been returned is not written into
            found.append(image)
    assert difference(*found) <= 1e-5  # the same kernels; cuSPARSE need not add in the same order twice
    cpu = TotalVariation(
        on_cpu(GEOMETRIES["square"]),
        y,
        **{k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in options.items()},
    )
    cpu.run(1e-3, 10)
    assert difference(found[0], reweighted_rounds(cpu, 1e-3, 0.05, 3, 10)[0]) <= 2e-3


@pytest.mark.parametrize(
    "options",
    [{}, dict(levels=(0, 1 / 3, 2 / 3, 1)), dict(network=False), dict(adversarial=0), dict(init="sirt")],
    ids=str,
)
def test_recorded_fit_is_the_same(monkeypatch, shale_case, options):
    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.metrics import mssim
    from tomopy_ganrec.options import GanrecOptions

    case = shale_case(slices=2)
    model = case.model.to("cuda")
    options = dict(pixel_model="point", patience=0, reweight_rounds=2) | options
    found = {}
    for kind in ("recorded", "as it is", "cpu"):
        with monkeypatch.context() as patch:
            made = recordings(patch)
            if kind == "as it is":
                never_recorded(patch)
            cpu = kind == "cpu"
            found[kind] = fit(
                case.model if cpu else model, case.sinogram if cpu else case.sinogram.cuda(), GanrecOptions(**options)
            )
            assert all(made) and bool(made) == (kind == "recorded")
    curves = [result.history["objective"] for result in found.values()]
    assert all(np.isfinite(curve).all() and curve.shape == curves[0].shape for curve in curves)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-2)
    for k in range(2):  # networks in bfloat16 against float32 on the CPU
        scores = [mssim(case.truth[k], result.image[k].cpu()) for result in found.values()]
        assert max(scores) - min(scores) <= 2e-3


def test_a_callback_stops_a_recorded_fit(shale_case):
    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.options import GanrecOptions

    case, seen = shale_case(), []
    model = case.model.to("cuda")
    result = fit(
        model,
        case.sinogram.cuda(),
        GanrecOptions(reweight_rounds=1, num_iter=40),
        callback=lambda s: seen.append(s) or s.stage == "fit" and s.iteration == 17,
    )
    assert (
        seen[-1].iteration == 17
        and result.info[0]["stopped"] == "callback"
        and result.history["objective"].shape == (18, 1)
    )
    assert result.image.isfinite().all()


def test_astra_is_not_recorded_and_works(astra, shale_case):
    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.options import GanrecOptions

    case = shale_case()
    model = ParallelBeamProjector(64, case.theta, 64, backend="astra_cuda", device="cuda")
    assert (
        fit(model, case.sinogram.cuda(), GanrecOptions(reweight_rounds=1, num_iter=8, pixel_model="point"))
        .image.isfinite()
        .all()
    )
