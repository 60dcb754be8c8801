"""Iterations recorded as CUDA graphs and replayed, against the same without recording."""

import numpy as np
import pytest
import torch
from gpu_cases import GEOMETRIES, difference, needs_gpu, on_cpu, on_gpu, smooth_pair

from tomopy_ganrec.projector import ParallelBeamProjector

pytestmark = needs_gpu


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
