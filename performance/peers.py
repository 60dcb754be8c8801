"""Projectors and a training step of other packages, each under one signature, for ``speed.py``.

What differs between them (order of axes, angles in degrees, units) is undone outside of what is timed: a projector
works on tensors of its own shape, `image` and `sinogram` translate. ``peers.txt`` explains how to install them;
`reason` returns why one cannot run here. Nothing of theirs is part of this package.
"""

import contextlib
import importlib
import importlib.machinery
import io
import sys
import types
import warnings

import numpy as np
import torch
import torch.nn.functional as F

PIECE = 2**26  # samples of rotated images at once, 256 MB: beyond it a batch or the angles go through in pieces


def reason(name: str, device: str) -> str | None:
    """Why a peer of `PROJECTORS` or `STEPS` cannot run on `device`, or None."""
    peer = {**PROJECTORS, **STEPS}[name]
    try:
        if peer.module in ("deepinv", "ganrectorch"):
            _torchvision()
        importlib.import_module(peer.module)
    except ImportError as error:
        return f"not installed ({error})" if error.name == peer.module else f"{peer.module} does not import: {error}"
    except Exception as error:  # a peer that breaks is a row that says so
        return f"{peer.module} does not import: {type(error).__name__}: {error}"
    return peer.unfit(torch.device(device))


def _torchvision() -> None:
    """Put an empty torchvision in place of one that is missing or does not import.

    deepinv and ganrec import it; their projectors do not use it.

    The builds of torchvision on PyPI are made for torch with CUDA and do not import beside a torch for the CPU.
    """
    with contextlib.suppress(Exception):
        importlib.import_module("torchvision")
        return

    class Empty(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what is left of an import that failed
    for part in (
        "",
        ".datasets",
        ".datasets.folder",
        ".datasets.utils",
        ".transforms",
        ".transforms.functional",
        ".utils",
    ):
        module = Empty(f"torchvision{part}")
        module.__path__, module.__spec__ = [], importlib.machinery.ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module
        parent, _, child = module.__name__.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


class Projector:
    """One geometry: square slices of `size`, as many detector columns, angles `theta` in radians.

    `forward` takes tensors in the peer's own order and can be differentiated, `back` is its adjoint.
    """

    module = "torch"

    @staticmethod
    def unfit(device: torch.device) -> str | None:
        """Why it cannot run on a device, or None."""

    def __init__(self, size: int, theta: np.ndarray, device: str):
        self.size, self.theta, self.device = size, theta, torch.device(device)

    def image(self, x: torch.Tensor) -> torch.Tensor:
        """(B, rows, cols) slices as the peer takes them."""
        return x

    def sinogram(self, y: torch.Tensor) -> torch.Tensor:
        """The peer's sinograms as (B, angles, columns) line integrals, lengths in columns."""
        return y

    def release(self) -> None:
        """Forget graphs that were kept from one call to the next."""


class _Pair(torch.autograd.Function):
    """A forward projection whose gradient is the back projection."""

    @staticmethod
    def forward(ctx, x, projector):
        ctx.projector = projector
        return projector.project(x.detach())

    @staticmethod
    def backward(ctx, grad):
        return ctx.projector.back(grad.contiguous()), None


class _Astra(Projector):
    module = "astra"

    def forward(self, x):
        return _Pair.apply(x, self)


class AstraCpu(_Astra):
    """ASTRA's ``linear`` projector on the CPU, slice by slice."""

    @staticmethod
    def unfit(device):
        return None if device.type == "cpu" else "projects on the CPU"

    def __init__(self, size, theta, device):
        super().__init__(size, theta, device)
        import astra

        self._astra = astra
        self._id = astra.create_projector(
            "linear", astra.create_proj_geom("parallel", 1.0, size, theta), astra.create_vol_geom(size, size)
        )

    def project(self, x):
        y = torch.empty(len(x), len(self.theta), self.size)
        for image, sinogram in zip(x.numpy(), y.numpy(), strict=True):
            self._astra.projector.direct_FP(self._id, image, out=sinogram)
        return y

    def back(self, y):
        x = torch.empty(len(y), self.size, self.size)
        for sinogram, image in zip(y.numpy(), x.numpy(), strict=True):
            self._astra.projector.direct_BP(self._id, sinogram, out=image)
        return x


class AstraCuda(_Astra):
    """ASTRA's CUDA projector as tomosipo calls it: a batch is a volume of ``parallel3d``, on torch's own memory.

    Its back projection is pixel-driven, the adjoint to about 1 %. The calls report no failure; the error of the disc
    would show it.
    """

    @staticmethod
    def unfit(device):
        import astra

        if device.type != "cuda" or not torch.cuda.is_available():
            return "needs a CUDA GPU (--device cuda)"
        return None if astra.use_cuda() else "ASTRA finds no CUDA GPU"

    def __init__(self, size, theta, device):
        super().__init__(size, theta, device)
        import astra
        import astra.experimental

        self._astra, self._ids = astra, {}

    def _projector(self, slices):
        if slices not in self._ids:
            # in three dimensions rows count upwards: -theta is this package's theta
            geometry = self._astra.create_proj_geom("parallel3d", 1.0, 1.0, slices, self.size, -np.asarray(self.theta))
            self._ids[slices] = self._astra.create_projector(
                "cuda3d", geometry, self._astra.create_vol_geom(self.size, self.size, slices)
            )
        return self._ids[slices]

    def project(self, x):
        y = torch.empty(len(x), len(self.theta), self.size, device=self.device)
        with torch.cuda.device(self.device):
            self._astra.experimental.direct_FP3D(self._projector(len(x)), x.contiguous(), y)
        return y

    def back(self, y):
        x = torch.empty(len(y), self.size, self.size, device=self.device)
        with torch.cuda.device(self.device):
            self._astra.experimental.direct_BP3D(self._projector(len(y)), x, y.contiguous())
        return x


class Rotation(Projector):
    """The image rotated by `grid_sample` to each angle and summed along its rows, as in the ganrec package.

    Written here, also for batches.

    The adjoint is the backward pass alone, over a graph that is kept.
    """

    def __init__(self, size, theta, device):
        super().__init__(size, theta, device)
        self._angles, self._kept = torch.as_tensor(theta, dtype=torch.float32, device=self.device), None

    def forward(self, x):
        batch, parts = len(x), []
        for angles in self._angles.split(max(1, PIECE // x.numel())):
            c, s = angles.cos(), angles.sin()
            zero = torch.zeros_like(c)
            turn = torch.stack([c, s, zero, -s, c, zero], 1).view(-1, 2, 3)
            grid = F.affine_grid(turn, [len(angles), batch, self.size, self.size], align_corners=False)
            turned = F.grid_sample(x.expand(len(angles), -1, -1, -1), grid, mode="bilinear", align_corners=False)
            parts.append(turned.sum(2))
        return torch.cat(parts).transpose(0, 1)

    def back(self, y):
        if self._kept is None or self._kept[1].shape != y.shape:
            with torch.enable_grad():
                x = torch.zeros(len(y), self.size, self.size, device=self.device, requires_grad=True)
                self._kept = x, self.forward(x)
        return torch.autograd.grad(self._kept[1], self._kept[0], y, retain_graph=True)[0]

    def release(self):
        self._kept = None


class Deepinv(Projector):
    """``deepinv.physics.Tomography``; its adjoint is the backward pass, over a graph that it keeps (its default)."""

    module = "deepinv"

    def __init__(self, size, theta, device):
        super().__init__(size, theta, device)
        from deepinv.physics import Tomography

        # circle=True: as many columns as pixels, and the fewest samples. It looks at the inscribed disc only.
        angles = torch.as_tensor(np.rad2deg(theta), dtype=torch.float32, device=self.device)
        options = dict(circle=True, normalize=False, device=self.device)
        self._one, self._all = (
            Tomography(angles, size, parallel_computation=at_once, **options) for at_once in (False, True)
        )
        self._samples = size * size * len(theta)

    def image(self, x):
        return x[:, None].contiguous()

    def sinogram(self, y):
        return y[:, 0].transpose(1, 2)

    def forward(self, x):
        return self._in_parts("A", x)

    def back(self, y):
        return self._in_parts("A_adjoint", y)

    def _in_parts(self, name, tensor):
        # On a CPU angle by angle is the faster of its two ways, but copies each grid for each slice, and keeps the
        # copies for the backward pass.
        if self.device.type == "cpu" and 8 * self._samples * len(tensor) <= 4e9:
            return getattr(self._one, name)(tensor)
        parts = [getattr(self._all, name)(part) for part in tensor.split(max(1, 4 * PIECE // self._samples))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def release(self):
        self._one._auto_grad_adjoint_fn = self._all._auto_grad_adjoint_fn = None


class TorchTomo(Projector):
    """``torchtomo.ParallelBeam`` with the backend that it chooses by itself."""

    module = "torchtomo"

    def __init__(self, size, theta, device):
        super().__init__(size, theta, device)
        from torchtomo import ParallelBeam

        angles = torch.as_tensor(theta, dtype=torch.float32)
        self._beam = ParallelBeam(size, len(theta), size, angles=angles, circle=False, backend="auto").to(self.device)

    def image(self, x):
        return x[:, None].contiguous()

    def sinogram(self, y):
        return y[:, 0] * (self.size / 2)  # its image is 2 wide

    def forward(self, x):
        return self._beam.forward(x)

    def back(self, y):
        return self._beam.adjoint(y)


class GanrecStep:
    """An iteration of the ganrec package's GANtomo in torch; `compiled` by ``torch.compile``, as it ships, or not.

    Its generator (fully connected, then convolutions), projector, discriminator, losses and optimisers.
    """

    module = "ganrectorch"

    @staticmethod
    def unfit(device: torch.device) -> str | None:
        """Why it cannot run on a device, or None."""

    def __init__(self, sinogram: np.ndarray, theta: np.ndarray, device: str, compiled: bool = False):
        with warnings.catch_warnings(), _settings():
            warnings.simplefilter("ignore")
            from ganrectorch.ganrec import GANtomo
            from ganrectorch.propagators import RadonTransform

            gan = self._gan = GANtomo(
                np.asarray(sinogram, np.float32), np.asarray(theta, np.float32), recon_monitor=False
            )
            gan.make_model()
            gan.radon = RadonTransform(torch.empty(1, 1, gan.px, gan.px), gan.angle)
            for name in ("prj_input", "angle", "generator", "discriminator", "radon"):
                setattr(gan, name, getattr(gan, name).to(device))
            gan.prj_input = gan.nor_tomo(gan.prj_input)
        self._compiled = compiled

    def step(self) -> float:
        """One iteration; the generator's loss."""
        stance = contextlib.nullcontext() if self._compiled else torch.compiler.set_stance("force_eager")
        with warnings.catch_warnings(), _settings(as_shipped=True), stance:
            warnings.simplefilter("ignore")
            return float(self._gan.recon_step(self._gan.prj_input, self._gan.angle)["g_loss"].detach())


@contextlib.contextmanager
def _settings(as_shipped: bool = False):
    """Keep the package's global settings, and what it prints, to itself."""
    precision, tuned = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    if as_shipped:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = tuned


PROJECTORS = {
    "ASTRA CPU": AstraCpu,
    "ASTRA CUDA": AstraCuda,
    "grid_sample": Rotation,
    "deepinv": Deepinv,
    "torchtomo": TorchTomo,
}
STEPS = {"ganrec package": GanrecStep}
