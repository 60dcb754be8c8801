"""Against the real TomoPy, where it is installed (conda-forge)."""

import os
import re
from functools import partial

import numpy as np
import pytest
import torch  # noqa: F401  (before TomoPy and ASTRA)

import tomopy_ganrec
from tomopy_ganrec import ganrec

tomopy = pytest.importorskip("tomopy")

N, CENTER = 64, 34.3


def blobs(size=N):
    """An asymmetric object of Gaussian blobs, attenuation per pixel."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    spots = ((-9, 12, 0.02, 6), (12, -6, 0.012, 5), (4, 16, 0.008, 3))
    return sum(h * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * w**2)) for r, c, h, w in spots).astype(np.float32)


@pytest.fixture(scope="module")
def scan():
    """(angles, slices, columns) of three slices by TomoPy's own projector, axis off the middle, and the angles."""
    theta = tomopy.angles(90)
    volume = np.stack([blobs(), 2 * blobs(), blobs()[::-1]])
    return tomopy.project(volume, theta, center=CENTER, pad=False), theta


@pytest.mark.parametrize("ncore, nchunk", [(1, None), (2, None), (2, 1), (1, 0), (2, 0)])
def test_same_grid_orientation_and_units_as_mlem(scan, ncore, nchunk):
    projections, theta = scan
    mlem = tomopy.recon(projections, theta, CENTER, algorithm="mlem", num_iter=60)
    ours = tomopy.recon(
        projections, theta, CENTER, algorithm=ganrec, ncore=ncore, nchunk=nchunk, options={"num_iter": 20}
    )
    assert ours.shape == mlem.shape and ours.dtype == np.float32
    for a, b in zip(ours, mlem, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.995  # a pixel of shift gives 0.98, a flip far less
        assert a.mean() == pytest.approx(b.mean(), rel=5e-3)
    assert "TOMOPY_PYTHON_THREADS" not in os.environ


def test_grid_of_another_size(scan):
    projections, theta = scan
    keywords = {"num_gridx": 72, "num_gridy": 80}
    mlem = tomopy.recon(projections, theta, CENTER, algorithm="mlem", num_iter=60, **keywords)
    ours = tomopy.recon(projections, theta, CENTER, algorithm=ganrec, options={"num_iter": 0}, **keywords)
    assert ours.shape == mlem.shape == (3, 72, 80)
    assert np.corrcoef(ours.ravel(), mlem.ravel())[0, 1] > 0.99


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
@pytest.mark.parametrize("ncore, nchunk", [(1, None), (2, 1), (1, 0), (1, 2)])
def test_each_slice_has_its_mask_in_any_chunk(scan, ncore, nchunk):
    projections, theta = scan
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    masks = np.stack([np.hypot(y - 5 * k, x) < 15 + 2 * k for k in range(3)])
    options = {"num_iter": 0, "mask": masks}
    keywords = {"algorithm": ganrec, "ncore": ncore, "nchunk": nchunk}
    ours = tomopy.recon(projections, theta, CENTER, options=options, **keywords)
    assert not ours[~masks].any() and all(one.any() for one in ours)
    with pytest.raises(ValueError, match="mask has shape"):
        tomopy.recon(projections, theta, CENTER, options={"num_iter": 0, "mask": masks[:2]}, **keywords)


def test_default_centre_is_tomopys(scan):
    theta = scan[1]
    projections = tomopy.project(blobs()[None], theta, pad=False)
    ours = tomopy.recon(projections, theta, algorithm=ganrec, options={"num_iter": 0})
    np.testing.assert_allclose(ours[0], blobs(), atol=0.06 * blobs().max())


def test_a_found_centre_with_the_index_convention(scan):
    projections, theta = scan
    index = CENTER - 0.5
    ours = tomopy.recon(
        projections, theta, index, algorithm=ganrec, options={"num_iter": 0, "center_convention": "index"}
    )
    edge = tomopy.recon(projections, theta, CENTER, algorithm=ganrec, options={"num_iter": 0})
    np.testing.assert_allclose(ours, edge, atol=1e-4 * edge.max())


def test_by_name_after_register(scan):
    projections, theta = scan
    with pytest.raises(ValueError, match="algorithm"):
        tomopy.recon(projections, theta, CENTER, algorithm="ganrec")
    tomopy_ganrec.register()
    try:
        for ncore in (1, 2):
            named = tomopy.recon(projections, theta, CENTER, algorithm="ganrec", ncore=ncore, options={"num_iter": 3})
            passed = tomopy.recon(projections, theta, CENTER, algorithm=ganrec, ncore=ncore, options={"num_iter": 3})
            np.testing.assert_array_equal(named, passed)
        default = tomopy.recon(projections[:, :1], theta, CENTER, algorithm="ganrec", num_gridx=48, num_gridy=48)
        assert default.shape == (1, 48, 48)
    finally:
        tomopy_ganrec.unregister()
    with pytest.raises(ValueError, match="algorithm"):
        tomopy.recon(projections, theta, CENTER, algorithm="ganrec")


@pytest.fixture
def registered():
    tomopy_ganrec.register()
    yield
    tomopy_ganrec.unregister()


@pytest.mark.parametrize("ncore, nchunk", [(1, None), (2, 1), (1, 0)])
@pytest.mark.parametrize(
    "keywords",
    [
        {"num_iter": 2, "reweight_rounds": 0},
        {
            "num_iter": 2,
            "reweight_rounds": 0,
            "filter_name": "parzen",
            "filter_par": [0.5, 8],
            "reg_par": 1,
            "num_block": 2,
        },
        {"num_iter": 1, "reweight_rounds": 0, "mask": False, "levels": None, "noise": "auto", "tv_weight": 0.01},
        {
            "num_iter": 2,
            "reweight_rounds": 0,
            "levels": [0, 0.01, 0.02],
            "seed": np.int64(3),
            "callback": lambda status: False,
        },
        {"options": {"num_iter": 3, "reweight_rounds": 0}, "num_iter": 2},
        {"num_iter": 2, "reweight_rounds": 0, "device": "gpu", "accelerated": False},
    ],
    ids=lambda keywords: "-".join(keywords),
)
def test_keywords_by_name(scan, registered, ncore, nchunk, keywords):
    projections, theta = scan
    named = tomopy.recon(projections, theta, CENTER, algorithm="ganrec", ncore=ncore, nchunk=nchunk, **keywords)
    passed = tomopy.recon(projections, theta, CENTER, algorithm=ganrec, ncore=ncore, nchunk=nchunk, **keywords)
    np.testing.assert_array_equal(named, passed)


def test_num_iter_by_name_is_not_tomopys_default(scan, registered):
    """TomoPy's default for its own algorithms, num_iter=1, is not handed on."""
    projections, theta = scan
    default, one = (
        tomopy.recon(projections[:, :1], theta, CENTER, algorithm="ganrec", **more) for more in ({}, {"num_iter": 1})
    )
    assert not np.array_equal(default, one)
    np.testing.assert_array_equal(default, tomopy.recon(projections[:, :1], theta, CENTER, algorithm=ganrec))


def test_a_misspelt_keyword_by_name(scan, registered):
    projections, theta = scan
    with pytest.raises(TypeError, match="unknown option 'num_itr': did you mean 'num_iter'"):
        tomopy.recon(projections, theta, CENTER, algorithm="ganrec", num_itr=2)
    mlem = tomopy.recon(projections, theta, CENTER, algorithm="mlem", num_iter=2)
    assert np.isfinite(mlem).all()
    with pytest.raises(ValueError, match="num_itr"):  # TomoPy's own algorithms are as they were
        tomopy.recon(projections, theta, CENTER, algorithm="mlem", num_itr=2)


@pytest.mark.parametrize(
    "keywords",
    [
        {
            "options": {
                "method": "SIRT_CUDA",
                "proj_type": "cuda",
                "num_iter": 2,
                "reweight_rounds": 0,
                "extra_options": {"MinConstraint": 0},
            }
        },
        {"options": {"method": "SART", "proj_type": "linear", "num_iter": 2, "reweight_rounds": 0, "gpu_list": None}},
        {
            "lpmethod": "lpfbp",
            "filter_name": "parzen",
            "interp_type": "cubic",
            "num_iter": 2,
            "reweight_rounds": 0,
            "ncore": 1,
        },
        {
            "accelerated": True,
            "device": "gpu",
            "pool_size": 2,
            "interpolation": "NN",
            "num_iter": 2,
            "reweight_rounds": 0,
            "ncore": 1,
        },
    ],
    ids=("astra on a GPU", "astra on a CPU", "lprec", "mlem on a GPU"),
)
def test_scripts_of_tomopys_other_algorithms(scan, keywords):
    projections, theta = scan
    before = {name: dict(value) if name == "options" else value for name, value in keywords.items()}
    ours = tomopy.recon(projections, theta, CENTER, algorithm=ganrec, **keywords)
    plain = tomopy.recon(
        projections, theta, CENTER, algorithm=ganrec, num_iter=2, reweight_rounds=0, ncore=keywords.get("ncore")
    )
    np.testing.assert_array_equal(ours, plain)
    assert keywords == before  # tomopy.astra writes its defaults into the caller's dictionary


@pytest.mark.parametrize("ncore, nchunk", [(1, None), (2, None), (2, 1), (1, 0)])
def test_a_read_only_init_recon_is_refused_before_computing(scan, monkeypatch, ncore, nchunk):
    monkeypatch.delenv("TOMOPY_PYTHON_THREADS", raising=False)
    projections, theta = scan
    began = []
    monkeypatch.setattr("tomopy_ganrec.api.run_local", lambda *args, **kwargs: began.append(1))
    init = np.zeros((3, N, N), np.float32)
    init.setflags(write=False)
    with pytest.raises(ValueError, match=r"read-only.*init_recon=array.copy\(\)"):
        tomopy.recon(projections, theta, CENTER, algorithm=ganrec, init_recon=init, ncore=ncore, nchunk=nchunk)
    assert not began and not init.any() and "TOMOPY_PYTHON_THREADS" not in os.environ


@pytest.mark.parametrize("kind", ("float64", "copy"))
def test_a_read_only_init_recon_that_tomopy_copies_works(scan, kind):
    projections, theta = scan
    init = np.stack([blobs(), 2 * blobs(), blobs()[::-1]]).astype(np.float64 if kind == "float64" else np.float32)
    init.setflags(write=False)
    given = init if kind == "float64" else init.copy()
    options = {"init": "none", "num_iter": 0, "mask": False}
    ours = tomopy.recon(projections, theta, CENTER, algorithm=ganrec, init_recon=given, options=options)
    np.testing.assert_allclose(ours, init, atol=1e-6)


def test_init_recon_and_errors_through_tomopy(scan, monkeypatch):
    monkeypatch.delenv("TOMOPY_PYTHON_THREADS", raising=False)
    projections, theta = scan
    init = np.stack([blobs(), 2 * blobs(), blobs()[::-1]])
    ours = tomopy.recon(
        projections,
        theta,
        CENTER,
        algorithm=ganrec,
        init_recon=init.copy(),
        options={"init": "none", "num_iter": 0, "mask": False},
    )
    np.testing.assert_allclose(ours, init, atol=1e-6)
    monkeypatch.setenv("TOMOPY_PYTHON_THREADS", "2")  # TomoPy leaves it behind after an exception
    with pytest.raises(TypeError, match="did you mean 'num_iter'"):
        tomopy.recon(projections, theta, CENTER, algorithm=ganrec, options={"numiter": 3})
    with pytest.raises(ValueError, match="radians"):
        tomopy.recon(projections, np.rad2deg(theta), CENTER, algorithm=ganrec)


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain:UserWarning")  # its centres: most are wrong
def test_write_center(scan, tmp_path, monkeypatch):
    # TomoPy sends filter_name along and asks for one slice at a time; its TIFF writer calls a function that tifffile
    # 2025.2.18 removed.
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(tifffile, "imsave", tifffile.imwrite, raising=False)
    projections, theta = scan
    tomopy.write_center(
        projections,
        theta,
        str(tmp_path),
        cen_range=(CENTER - 1, CENTER + 1, 1),
        algorithm=partial(ganrec, num_iter=0),
        ind=0,
    )
    written = {path.name: tifffile.imread(path) for path in tmp_path.iterdir()}
    assert len(written) == 2
    np.testing.assert_allclose(written[f"{CENTER:.2f}.tiff"], blobs(), atol=0.06 * blobs().max())


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain:UserWarning")  # its centres: most are wrong
def test_write_center_by_name(scan, registered, tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(tifffile, "imsave", tifffile.imwrite, raising=False)
    projections, theta = scan
    for folder, algorithm in (("named", "ganrec"), ("passed", ganrec)):
        tomopy.write_center(
            projections, theta, str(tmp_path / folder), cen_range=(CENTER, CENTER + 1, 0.5), algorithm=algorithm, ind=0
        )
    named, passed = (
        {path.name: tifffile.imread(path) for path in (tmp_path / folder).iterdir()} for folder in ("named", "passed")
    )
    assert len(named) == 2 and named.keys() == passed.keys()
    for name in named:
        np.testing.assert_array_equal(named[name], passed[name])


# Chunks of one call


def chunked(scan, ncore, nchunk, **options):
    projections, theta = scan
    return tomopy.recon(
        projections,
        theta,
        CENTER,
        algorithm=ganrec,
        ncore=ncore,
        nchunk=nchunk,
        options={"num_iter": 2, "reweight_rounds": 1} | options,
    )


@pytest.mark.parametrize("ncore", (1, 2))
@pytest.mark.parametrize("nchunk", (1, None))
def test_one_progress_bar_for_a_call(scan, capsys, ncore, nchunk):
    chunked(scan, ncore, nchunk, progress=True)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1  # a bar ends its line when it is closed
    shares = [int(part) for part in re.findall(r"(\d+)%", shown)]
    assert shares == sorted(shares) and shares[-1] == 100


@pytest.mark.parametrize("ncore", (1, 2))
@pytest.mark.parametrize("how", ("exception", "cancel"))
def test_the_environment_after_what_went_wrong(scan, monkeypatch, ncore, how):
    monkeypatch.delenv("TOMOPY_PYTHON_THREADS", raising=False)

    def wrong(status):
        if how == "cancel":
            tomopy_ganrec.cancel()
        else:
            raise KeyError("a user's callback")

    with pytest.raises(tomopy_ganrec.Cancelled if how == "cancel" else KeyError):
        chunked(scan, ncore, 1, callback=wrong)
    assert "TOMOPY_PYTHON_THREADS" not in os.environ
    assert np.isfinite(chunked(scan, ncore, 1)).all()  # and the next call works


def test_warm_start_on_request_within_a_chunk():
    theta = tomopy.angles(90)
    projections = tomopy.project(
        np.stack([(1 + 0.01 * k) * blobs() for k in range(6)]), theta, center=CENTER, pad=False
    )
    options = {"num_iter": 2, "reweight_rounds": 1}
    cold, warm, whole = (
        tomopy.recon(projections, theta, CENTER, algorithm=ganrec, ncore=ncore, options=options | more)
        for ncore, more in ((1, {}), (1, {"warm_start": 4}), (2, {"warm_start": 4}))
    )
    # From scratch, in another batch.
    np.testing.assert_allclose(warm[[0, 5]], cold[[0, 5]], rtol=0, atol=1e-5 * cold.max())
    assert not np.array_equal(warm[2], cold[2])
    for other in (warm, whole):  # two chunks of three: other slices are cold
        assert np.linalg.norm(other - cold) < 0.05 * np.linalg.norm(cold)
