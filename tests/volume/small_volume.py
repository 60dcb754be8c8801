"""A small volume for tests of whole volumes: data, options, and the images of an output."""

import numpy as np

N, ANGLES, SLICES = 24, 20, 10
THETA = np.linspace(0, np.pi, ANGLES, endpoint=False)
QUICK = dict(
    num_iter=2, warm_iter=2, reweight_rounds=1, pixel_model="point", device="cpu", batch_size=3, sinogram_order=True
)
WARM = dict(QUICK, warm_start=4)
PAPER = dict(preset="paper", num_iter=3, warm_iter=2, warm_start=4, batch_size=2, device="cpu", sinogram_order=True)


def data():
    """The shadow of a disc that grows slowly from slice to slice, with a little noise: (SLICES, ANGLES, N)."""
    x = (np.arange(N) + 0.5) / N * 2 - 1
    discs = [N / 2 * np.sqrt(np.clip((0.7 + 0.005 * k) ** 2 - x * x, 0, None)) for k in range(SLICES)]
    noise = np.random.default_rng(0).standard_normal((SLICES, ANGLES, N))
    return (np.array(discs)[:, None] + 0.01 * noise).astype(np.float32)


def images(path):
    """The slices of an output on disk."""
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path) as file:
            return file["exchange/data"][:]
    import tifffile

    return np.stack([tifffile.imread(name) for name in sorted(path.glob("recon_*.tiff"))])


def stop_at(count):
    """A callback that raises at its `count`-th call."""
    seen = []

    def callback(status):
        seen.append(status)
        if len(seen) >= count:
            raise KeyError("stopped")

    return callback
