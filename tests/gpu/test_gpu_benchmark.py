"""The benchmark's methods and its command on a CUDA GPU."""

import pytest
import torch
from gpu_cases import needs_gpu

from tomopy_ganrec.projector import ParallelBeamProjector

pytestmark = needs_gpu


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


def test_benchmark_command_on_the_gpu(tmp_path):
    import json

    from tomopy_ganrec.cli import main

    words = "benchmark --size 64 --wedges 120 --methods fbp,gridrec,mlem,tv,ganrec --device cuda --quiet --out"
    assert main([*words.split(), str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    gpu = torch.cuda.get_device_name()
    assert {row["device"] == gpu for row in rows if row["method"] != "gridrec"} == {True}
    assert not [
        row for row in rows if row["method"] == "gridrec" and row["device"] == gpu
    ]  # it runs on the CPU, and says so
