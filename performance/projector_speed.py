"""Projectors beside those of named peers: forward projection, adjoint and both through autograd (for ``speed.py``)."""

import gc
import time
from statistics import median

import numpy as np
from measuring import show, synchronize, timed


class Own:
    """This package's projector with one backend, under the signature of `peers.Projector`."""

    def __init__(self, size: int, theta: np.ndarray, device: str, backend: str):
        from tomopy_ganrec import ParallelBeamProjector
        from tomopy_ganrec.projector import clear_cache

        clear_cache()
        began = time.perf_counter()
        self._projector = ParallelBeamProjector(size, theta, size, backend=backend, device=device)
        synchronize(device)
        self.build = time.perf_counter() - began
        self.forward, self.back = self._projector.forward_project, self._projector.back_project
        self.nbytes = sum(getattr(backend, "nbytes", 0) for backend in getattr(self._projector, "_backends", []))

    image = sinogram = staticmethod(lambda tensor: tensor)

    def release(self) -> None:
        """Nothing is kept between calls."""


def disc(size: int, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An off-centre disc as area means, and its exact sinogram as means over detector columns."""
    row, column, radius = -0.13 * size, 0.17 * size, 0.21 * size
    fine = (np.arange(16 * size) + 0.5) / 16 - size / 2
    inside = (fine[:, None] - row) ** 2 + (fine - column) ** 2 <= radius**2
    image = inside.reshape(size, 16, size, 16).mean((1, 3), dtype=np.float32)
    edges = np.arange(size + 1) - size / 2
    t = (edges - (column * np.cos(theta) - row * np.sin(theta))[:, None]).clip(-radius, radius)
    area = t * np.sqrt(radius**2 - t**2) + radius**2 * np.arcsin(t / radius)
    return image, np.diff(area).astype(np.float32)


def accuracy(projector, size: int, theta: np.ndarray, device: str) -> tuple[dict, tuple]:
    """Errors of a projector, and the shape of its sinograms.

    The relative error of the disc's sinogram, and that of ⟨Ax, y⟩ = ⟨x, Aᵀy⟩ for random x and y, relative to ‖Ax‖‖y‖.
    """
    import torch

    image, exact = (torch.from_numpy(a)[None] for a in disc(size, theta))
    x = projector.image(torch.rand(1, size, size, generator=torch.Generator().manual_seed(0)).to(device))
    with torch.no_grad():
        sinogram = projector.sinogram(projector.forward(projector.image(image.to(device)))).cpu()
        projected = projector.forward(x)
        y = torch.rand(projected.shape, generator=torch.Generator().manual_seed(1)).to(device)
        back = projector.back(y)
    left, right = (projected.double() * y).sum(), (x.double() * back).sum()
    projector.release()
    errors = dict(
        disc_error=float((sinogram - exact).norm() / exact.norm()),
        adjoint_error=float((left - right).abs() / (projected.double().norm() * y.double().norm())),
    )
    return errors, tuple(y.shape[1:])


def contenders(given, size: int, theta: np.ndarray) -> tuple[dict, list[dict]]:
    """Projectors that run here by name, this package's own first, with the time to build them; rows of the others."""
    import peers

    from tomopy_ganrec import ParallelBeamProjector
    from tomopy_ganrec.projector.backends import BACKENDS

    automatic = ParallelBeamProjector(size, theta, size, device=given.device).backend
    backends = given.backends or [automatic, *(name for name in BACKENDS if name not in ("auto", automatic))]
    made, absent = {}, []
    for backend in backends:
        name = f"own {backend}"
        if backend not in BACKENDS:
            absent.append(dict(projector=name, note="this version does not have it"))
            continue
        try:
            Own(size, theta, given.device, backend)  # imports what it needs
            own = Own(size, theta, given.device, backend)
        except (ImportError, RuntimeError, ValueError) as error:
            absent.append(dict(projector=name, note=str(error)))
            continue
        made[name] = own, dict(build_s=own.build, MB=round(own.nbytes / 1e6, 1))
    for name, make in peers.PROJECTORS.items():
        if given.peers is not None and name not in given.peers:
            continue
        note = peers.reason(name, given.device)
        if note is None:
            began = time.perf_counter()
            try:
                made[name] = make(size, theta, given.device), dict(build_s=time.perf_counter() - began)
            except Exception as error:  # a peer that breaks is a row that says so
                note = f"{type(error).__name__}: {error}"
        if note is not None:
            absent.append(dict(projector=name, note=note))
    return made, absent


def calls(projector, x, y) -> dict:
    """Calls to be timed, by name: the forward projection, its adjoint, and the gradient of an image by autograd."""
    import torch

    leaf = x.clone().requires_grad_()

    def forward():
        with torch.no_grad():
            projector.forward(x)

    def adjoint():
        with torch.no_grad():
            projector.back(y)

    def both():
        leaf.grad = None
        projector.forward(leaf).backward(y)

    return dict(forward=forward, adjoint=adjoint, both=both)


def _row(name: str, times: dict, reference: dict, more: dict) -> dict:
    row = dict(projector=name)
    for what, spent in times.items():
        if isinstance(spent, str):
            row[what] = spent
            continue
        other = reference.get(what)
        row[what], row[f"{what}_ratio"] = (
            1e3 * median(spent),
            median(spent) / median(other) if isinstance(other, list) else None,
        )
        row[f"{what}_least"], row[f"{what}_repeats"] = 1e3 * min(spent), len(spent)
    return {**row, **more}


def projector(given) -> list[dict]:
    """The forward projection and its adjoint, for each size and batch; milliseconds."""
    import torch

    theta, rows, per_pixel = np.deg2rad(np.arange(180.0)), [], {}
    for size in given.sizes:
        made, absent = contenders(given, size, theta)
        accuracies = {name: accuracy(contender, size, theta, given.device) for name, (contender, _) in made.items()}
        for batch in given.batches:
            times = {name: {} for name in made}
            images = torch.rand(batch, size, size, generator=torch.Generator().manual_seed(2)).to(given.device)
            for what in ("forward", "adjoint", "both"):  # projectors that are compared follow each other closely
                for name, (contender, _) in made.items():
                    likely = per_pixel.get((name, what), 0.0) * batch * size**2
                    if likely > given.longest:
                        times[name][what] = f"≈{likely:.0f} s, not run"
                        continue
                    y = torch.ones(batch, *accuracies[name][1], device=given.device)
                    call = calls(contender, contender.image(images), y)[what]
                    times[name][what] = timed(call, given.device, given.budget, prepares=what == "adjoint")
                    per_pixel[name, what] = median(times[name][what]) / batch / size**2
                    contender.release()
                    gc.collect()
            own = next(iter(made)) if given.reference is None else f"own {given.reference}"
            table = [
                _row(name, times[name], times.get(own, {}), {**accuracies[name][0], **made[name][1]}) for name in made
            ]
            print(f"{size}² × 180 angles, {batch} at once; milliseconds, ratios to '{own}'")
            show([{k: v for k, v in row.items() if "least" not in k and "repeats" not in k} for row in table] + absent)
            rows += [dict(size=size, batch=batch, **row) for row in table + absent]
        del made
        gc.collect()
    return rows
