"""Calls of `ganrec` on chunks of one array, as tomopy.recon makes them."""

import numpy as np

from tomopy_ganrec import ganrec

N, ANGLES = 24, 20
THETA = np.linspace(0, np.pi, ANGLES, endpoint=False)
QUICK = dict(num_iter=2, reweight_rounds=1, pixel_model="point", device="cpu")


def sinograms(count):
    """The shadow of a disc, (count, ANGLES, N)."""
    x = (np.arange(N) + 0.5) / N * 2 - 1
    return np.broadcast_to(N / 2 * np.sqrt(np.clip(0.64 - x * x, 0, None)), (count, ANGLES, N)).astype(np.float32)


def plain(count):
    return np.full((count, N, N), 1e-6, np.float32)


def shared(count):
    """Over memory that is no array, as TomoPy's (`tomopy.util.mproc`, `numpy.frombuffer` of a shared block)."""
    out = np.frombuffer(bytearray(4 * count * N * N), np.float32).reshape(count, N, N)
    out[:] = 1e-6
    return out


def chunk(out, s, **options):
    part = out[s]
    ganrec(sinograms(len(part)), np.full(len(part), N / 2), part, THETA, **(QUICK | {"progress": True} | options))
