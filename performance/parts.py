"""Time of each part of an iteration by itself, beside the least time that the machine would need for it.

    python performance/parts.py                    # 256² from 120 degrees, one slice
    python performance/parts.py --batch 8 --device cuda

A floor is the least time for a part's work: its bytes over the measured bandwidth of a copy, or its operations over the
measured rate of a matrix product, whichever is longer. Bytes: a sparse matrix once, images and sinograms once for each
use. Operations: 5 n log₂ n for an FFT, two for each value of a sparse matrix or weight of a convolution (three times
that with the gradients).
"""

import argparse
import math
import time
from statistics import median

import torch
from measuring import problem, processor, show, synchronize, versions

from tomopy_ganrec import GanrecOptions, ParallelBeamProjector
from tomopy_ganrec.fit.gan.training_state import TrainingState
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.pixel_response import pixel_response
from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights, initial_weights
from tomopy_ganrec.solvers.forward_model import data_scale, field_of_view
from tomopy_ganrec.solvers.operators import divergence, edge_weights, gradient
from tomopy_ganrec.solvers.total_variation import TotalVariation


def clock(call, device: str, budget=1.0) -> float:
    """Median milliseconds of a call."""
    for _ in range(3):
        call()
    spent, began = [], time.perf_counter()
    while len(spent) < 5 or time.perf_counter() - began < budget:
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        spent.append(1e3 * (time.perf_counter() - start))
    return median(spent)


def machine(device: str) -> tuple[float, float]:
    """In a millisecond: bytes read and written by a copy, and operations of a product of 2048² float32 matrices."""
    a, b = torch.rand(64 * 2**20, device=device), torch.empty(64 * 2**20, device=device)
    m = torch.rand(2048, 2048, device=device)
    return 2 * a.nbytes / clock(lambda: b.copy_(a), device), 2 * 2048**3 / clock(lambda: m @ m, device)


def sparse_work(projector, batch: int) -> tuple[float, float]:
    """(bytes, operations) of a forward and a back projection."""
    backend = projector._backends[0]
    values = 2 * backend.nbytes / 8 * batch  # value and index are 8 bytes, and are used for a product and a sum
    operations = values
    if backend.name == "fourier":
        rows, cols = backend._padded
        lines = projector.range_shape[0] * backend._length
        operations += (
            2 * batch * 2.5 * (rows * cols * math.log2(rows * cols) + lines * math.log2(backend._length))
        )  # of real data: half
    return backend.nbytes, operations


def network_operations(network, shape) -> float:
    """Operations of the convolutions of a forward pass and its gradients."""
    operations, hooks = [], []

    def count(module, inputs, output):
        operations.append(2 * output.numel() * module.weight[0].numel())

    for module in network.modules():
        if hasattr(module, "weight"):
            hooks.append(module.register_forward_hook(count))
    with torch.no_grad():
        network(torch.zeros(shape, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return 3 * sum(operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--range", default="120", help="angular range: degrees, or projections/degrees")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(versions())
    device, batch, size = given.device, given.batch, given.size
    bandwidth, rate = machine(device)
    print(
        f"{processor(device)}, {given.threads} threads; a copy moves {bandwidth / 1e6:.1f} GB/s, "
        f"a matrix product makes {rate / 1e6:.0f} GFLOP/s\n"
    )
    truth, data, theta = problem(size, given.range, batch)
    model = ParallelBeamProjector(size, theta, size, backend=given.backend, device=device)
    # The curves of a fit have room for `num_iter` iterations, and the clock makes more than the default's 50.
    options, sinogram = GanrecOptions(patience=0, num_iter=100_000), torch.from_numpy(data).to(device)
    mask = field_of_view(model, device)
    scale = data_scale(model, sinogram, mask)
    weights = RegularizationWeights(tuple(initial_weights(model, sinogram, scale, options)))
    sinogram = sinogram / scale
    start = torch.from_numpy(truth).to(device) / scale
    image_bytes, sinogram_bytes = start.nbytes, sinogram.nbytes

    def table(title, whole, parts):
        rows = []
        for name, call, work in parts:
            spent = clock(call, device)
            floor = max(work[0] / bandwidth, work[1] / rate)
            rows.append(
                dict(
                    part=name,
                    milliseconds=spent,
                    share=f"{100 * spent / whole:.0f} %",
                    floor=floor,
                    above=spent / floor if floor else None,
                )
            )
        rest = whole - sum(row["milliseconds"] for row in rows)
        rows.append(dict(part="the rest, with Python", milliseconds=rest, share=f"{100 * rest / whole:.0f} %"))
        print(f"{title}: {whole:.2f} ms, {whole / batch:.2f} ms a slice")
        show(rows)
        print()

    where = f"{size}² from {given.range}°, {batch} at once"
    fine = model.resampled(rays_per_bin=2)
    response = pixel_response(theta, size, 1.0, 2).to(device)
    solver = TotalVariation(fine, sinogram, mask=mask, spectrum=response[None], wedge_tv_weight=weights.wedge_tv_weight)
    weight = edge_weights(start, torch.full((batch, 1, 1), 0.03, device=device))
    y, spectrum = fine.forward_project(start), torch.fft.rfft(sinogram)
    gx, gy = gradient(start)
    lines = sinogram.numel() * math.log2(size)
    with torch.no_grad():
        table(
            f"an iteration of total variation, {where}, {fine.backend}",
            clock(lambda: solver.run(1e-3, 1, weight), device),
            [
                (
                    "forward and back projection",
                    lambda: fine.back_project(fine.forward_project(start)),
                    sparse_work(fine, batch),
                ),
                (
                    "filter along the detector",
                    lambda: torch.fft.irfft(torch.fft.rfft(y - sinogram).add_(spectrum), n=size),
                    (6 * sinogram_bytes, 2 * 2.5 * lines),
                ),
                ("gradient and its adjoint", lambda: (gradient(start), divergence(gx, gy)), (6 * image_bytes, 0)),
            ],
        )

    constraints = Constraints(nonnegative=True, support=mask)
    measurement = Measurement.of_point_pixels(model, sinogram, weights, constraints)
    state = TrainingState(measurement, start, options)
    state.objective.refresh(start)
    view = 2.0 / size * sinogram
    leaf = start.clone().requires_grad_()

    def descend(call):
        def both():
            leaf.grad = None
            call().sum().backward()

        return both

    network, discriminator = state.generator.network, state.optimizer.discriminator
    grid = model.forward_project(start).requires_grad_()
    state.step()

    def regularization():
        return state.objective.variation(leaf) + state.objective.penalty(leaf.detach())

    optimizer = state.optimizer._optimizer
    optimizer_bytes = 7 * sum(p.nbytes for group in optimizer.param_groups for p in group["params"])
    table(
        f"an iteration of the fit, {where}, {model.backend}",
        clock(state.step, device),
        [
            ("projector", descend(lambda: model.forward_project(leaf)), sparse_work(model, batch)),
            (
                "generator",
                descend(lambda: network(start[:, None])),
                (0, network_operations(network, (batch, 1, size, size))),
            ),
            (
                "discriminator, loss of the generator",
                descend(lambda: state.optimizer.adversarial_loss(2.0 / size * grid)),
                (0, network_operations(discriminator, (batch, 1, *sinogram.shape[1:]))),
            ),
            (
                "discriminator, its training step",
                lambda: state.optimizer.step_discriminator(view, view),
                (0, 2 * network_operations(discriminator, (batch, 1, *sinogram.shape[1:]))),
            ),
            ("data term", descend(lambda: state.objective.data_term(grid)), (12 * sinogram_bytes, 4 * 2.5 * 2 * lines)),
            ("total variation and penalty", descend(regularization), (14 * image_bytes, 0)),
            ("optimiser", optimizer.step, (optimizer_bytes, 0)),
        ],
    )
    print("optimiser: of the generator; that of the discriminator is in its training step")
    if not torch.isfinite(state.curves(0, 0)["objective"]).all():
        raise RuntimeError("the objective is not finite: what was measured is not a fit")


if __name__ == "__main__":
    main()
