"""Every method under one signature, on the common grid."""

import importlib
import types

import numpy as np
import pytest
import torch

pytest.importorskip("astra")
from tomopy_ganrec import metrics
from tomopy_ganrec.benchmark import peers
from tomopy_ganrec.benchmark.cases import AngularRange, Case
from tomopy_ganrec.benchmark.methods import Method, Problem, chosen, methods, reconstruct
from tomopy_ganrec.projector import ParallelBeamProjector


def blobs(size):
    """Gaussian spots, one of them alone in each quadrant's neighbourhood, none mirrored by another."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    spots = [(1.0, -0.16, 0.10), (0.6, 0.12, 0.19), (0.8, 0.06, -0.22)]
    return sum(a * np.exp(-((y - r * size) ** 2 + (x - c * size) ** 2) / (2 * 2.5**2)) for a, r, c in spots).astype(
        np.float32
    )


def problem_of(image, center):
    size = image.shape[0]
    projector = ParallelBeamProjector(size, np.deg2rad(np.arange(0, 180, 2)), size, center)
    return Problem(projector, projector.forward_project(torch.from_numpy(image[None])), truth=image)


# What a correlation peak can be trusted to: a tenth of a pixel for spots of 2.5 pixels.
def offset(image, truth):
    from skimage.registration import phase_cross_correlation

    return phase_cross_correlation(truth, image, upsample_factor=50, normalization=None)[0]


# Methods over the same operator as another are tried once.
FAMILY = ("ganrec-", "tv-oracle", "astra-mlem-best", "svmbir")
ELSEWHERE = ("ganrec-paper", "ganrec-package", "dip-tv")  # slow; the last two have tests of their own
GRIDS = [(48, 0.0), (48, 1.3), (47, 0.0), (47, -0.8)]


@pytest.mark.filterwarnings("ignore:levels=:RuntimeWarning")  # spots have no levels
@pytest.mark.parametrize(
    "name, size, off",
    [
        (name, *grid)
        for name in methods()
        if name not in ELSEWHERE
        for grid in (GRIDS[-1:] if name.startswith(FAMILY) else GRIDS)
    ],
)
def test_every_method_is_on_the_common_grid(name, size, off):
    method = methods()[name]
    if method.unavailable:
        pytest.skip(method.unavailable)
    image = blobs(size)
    found, seconds = reconstruct(method, problem_of(image, size / 2 + off))
    assert found.shape == image.shape and found.dtype == np.float32 and seconds > 0
    # gridrec without padding has a background and a garbage edge: its middle is what is compared
    part = slice(5, -5)
    assert np.abs(offset(found[part, part], image[part, part])).max() < 0.15  # half a pixel, or a turn, would show
    correlation = np.corrcoef(found[part, part].ravel(), image[part, part].ravel())[0, 1]
    # Shifted by half a pixel, these spots correlate by 0.985 at most; unpadded gridrec's background shades them.
    assert correlation > (0.6 if name == "gridrec" else 0.99)
    # gridrec is up to 13 % too bright, as is TomoPy's; SIRT's 200 iterations have not converged
    assert np.vdot(found, image) / np.vdot(image, image) == pytest.approx(1, abs=0.3 if name == "gridrec" else 0.15)


def test_an_oracle_is_not_below_what_it_chooses_from():
    case = Case("shale", 32, "60", 1e3)
    truth, sinogram = case.slice()
    problem = Problem(
        ParallelBeamProjector(32, AngularRange("60").theta, 32), torch.from_numpy(sinogram[None]), truth=truth
    )
    score = {
        name: metrics.mssim(truth, reconstruct(methods()[name], problem)[0])
        for name in ("tv", "tv-oracle", "astra-mlem", "astra-mlem-best")
    }
    assert score["tv-oracle"] >= score["tv"]
    assert score["astra-mlem-best"] > score["astra-mlem"] + 0.01  # 1000 photons: 200 iterations fit the noise


def test_astra_mlem_is_mlem():
    truth, sinogram = Case("shale", 32, "60").slice()
    problem = Problem(ParallelBeamProjector(32, AngularRange("60").theta, 32), torch.from_numpy(sinogram[None]))
    # The two operators agree to 3e-5, and the iteration is stable.
    np.testing.assert_allclose(
        reconstruct(methods()["astra-mlem"], problem)[0], reconstruct(methods()["mlem"], problem)[0], atol=5e-3
    )


@pytest.mark.parametrize("angular_range", ["180", "120", "51/70"])
def test_fbp_has_the_mean_of_the_object(angular_range):
    """Each projection counts for π / projections, so that no attenuation is lost with a missing wedge."""
    truth, sinogram = Case("shale", 48, angular_range).slice()
    projector = ParallelBeamProjector(48, AngularRange(angular_range).theta, 48)
    image, _ = reconstruct(methods()["fbp"], Problem(projector, torch.from_numpy(sinogram[None])))
    # Streaks leave the field of view on all sides: in it their mean is not 0, and a tenth is what they take or bring.
    assert image.mean() == pytest.approx(truth.mean(), rel=0.12)


def test_the_start_comes_with_the_fit():
    truth, sinogram = Case("shale", 32, "60").slice()
    problem = Problem(ParallelBeamProjector(32, AngularRange("60").theta, 32), torch.from_numpy(sinogram[None]))
    alone, seconds = reconstruct(methods()["ganrec-start"], problem)
    reconstruct(methods()["ganrec"], problem)
    shared, _ = reconstruct(methods()["ganrec-start"], problem)
    np.testing.assert_array_equal(alone, shared)
    assert "ganrec-start" in problem.by_product and seconds > 0


def test_controls_differ_from_the_default():
    truth, sinogram = Case("shale", 32, "60", 1e4).slice()  # where the fit gets below its start
    problem = Problem(ParallelBeamProjector(32, AngularRange("60").theta, 32), torch.from_numpy(sinogram[None]))
    images = [
        reconstruct(methods()[name], problem)[0]
        for name in ("ganrec", "ganrec-no-network", "ganrec-no-discriminator", "tv")
    ]
    assert all(np.abs(a - b).max() > 0 for k, a in enumerate(images) for b in images[:k])


def test_the_seed_counts_for_methods_that_have_one():
    truth, sinogram = Case("shale", 32, "60", 1e4).slice()
    projector, data = ParallelBeamProjector(32, AngularRange("60").theta, 32), torch.from_numpy(sinogram[None])
    for name in ("ganrec", "tv", "fbp"):
        method = methods()[name]
        first, second = (reconstruct(method, Problem(projector, data, seed))[0] for seed in (0, 1))
        assert (np.abs(first - second).max() > 0) == method.seeded


@pytest.mark.parametrize(
    "name, hint",
    [
        ("gandrec", "did you mean 'gridrec'|did you mean 'ganrec'"),
        ("mbirjax", "choose from fbp, gridrec, gridrec-padded"),
    ],
)
def test_an_unknown_method_names_the_known(name, hint):
    with pytest.raises(ValueError, match=hint):
        chosen(["tv", name])


def test_choosing():
    assert [m.name for m in chosen(["ganrec", "fbp"])] == ["fbp", "ganrec"]  # in the order of tables
    assert set(methods()) - {m.name for m in chosen()} == {
        "tv-oracle",
        "ganrec-outline",
        "ganrec-best",
        "ganrec-best-unlearned",
        "ganrec-paper",
        "mlem",
        "svmbir",
        "dip-tv",
        "ganrec-package",
    }
    assert [m.name for m in chosen(["all"])] == list(methods()) == [m.name for m in chosen("all")]


def test_every_method_says_what_it_is():
    for name, method in methods().items():
        assert method.name == name and method.label and method.description and method.parameters and method.cost > 0


def without(monkeypatch, *packages):
    real = importlib.import_module

    def import_module(name, *rest):
        if name in packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(peers.importlib, "import_module", import_module)


def test_what_is_missing_has_a_reason(monkeypatch):
    without(monkeypatch, "tomopy", "midas_tomo", "astra", "svmbir", "ganrectorch")
    found = methods()
    assert "TomoPy is not installed" in found["pml_hybrid"].unavailable
    assert (
        "TomoPy" in found["gridrec"].unavailable
        and "midas-tomo is not installed" in found["gridrec-padded"].unavailable
    )
    assert "ASTRA toolbox is not installed" in found["astra-sirt"].unavailable
    assert "pip install svmbir" in found["svmbir"].unavailable and "ganrec==" in found["ganrec-package"].unavailable
    assert found["fbp"].unavailable is None and found["ganrec"].unavailable is None
    with pytest.raises(RuntimeError, match="TomoPy is not installed"):
        reconstruct(found["gridrec"], None)


def test_gridrec_is_labelled_by_who_provides_it(monkeypatch):
    fake = types.ModuleType("any")
    without(monkeypatch, "tomopy")
    monkeypatch.setitem(__import__("sys").modules, "midas_tomo", fake)
    assert methods()["gridrec"].label == "gridrec (midas-tomo)" and methods()["gridrec"].unavailable is None
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "tomopy", fake)
    assert methods()["gridrec"].label == "gridrec" and methods()["gridrec-padded"].label == "gridrec, padded"


def test_a_package_that_breaks_on_import_is_missing_with_its_error(monkeypatch):
    def broken(name, *rest):
        raise ImportError("libfftw3f.so.3: cannot open shared object file")

    monkeypatch.setattr(peers.importlib, "import_module", broken)
    assert "libfftw3f" in peers.missing("tomopy")


def test_what_is_not_finite_is_an_error():
    method = Method("x", "x", "x", "x", lambda problem: np.full((4, 4), np.nan), 1.0)
    with pytest.raises(RuntimeError, match="16 values that are not finite"):
        reconstruct(method, problem_of(blobs(32), 16.0))


def test_an_oracle_without_a_truth():
    problem = problem_of(blobs(32), 16.0)
    problem.truth = None
    with pytest.raises(RuntimeError, match="there is none"):
        reconstruct(methods()["tv-oracle"], problem)


def test_gridrec_keeps_standard_output_clean(capfd):
    method = methods()["gridrec"]
    if method.unavailable:
        pytest.skip(method.unavailable)
    reconstruct(method, problem_of(blobs(32), 16.0))
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_the_ganrec_package_is_on_the_common_grid():
    if reason := peers.missing("ganrectorch"):
        pytest.skip(reason)
    size, least = 112, peers.LEAST_OF_GANREC_PACKAGE
    image, theta = blobs(size), np.linspace(0, np.pi, least, endpoint=False)
    projector = ParallelBeamProjector(size, theta, size, size / 2 + 1.3)
    sinogram = projector.forward_project(torch.from_numpy(image[None]))[0].numpy()
    state = torch.random.get_rng_state()
    found = peers.ganrec_package(sinogram, theta, size / 2 + 1.3, 60, 0, "cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    # After 60 of its 1000 iterations the spots are there and the background is not yet flat.
    assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.8
    assert np.abs(offset(found, image)).max() < 0.15 and found.sum() == pytest.approx(image.sum(), rel=0.05)


def test_the_ganrec_package_needs_many_projections():
    with pytest.raises(ValueError, match="at least 109 projections"):
        peers.ganrec_package(np.ones((60, 128)), np.linspace(0, 1, 60), 64.0, 1, 0, "cpu")
