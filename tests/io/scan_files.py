"""Scans in files, and the readers that must read them alike."""

import numpy as np
import pytest
import scans

from tomopy_ganrec import io
from tomopy_ganrec.io.lazy_projections import open_projections

DEGREES = np.arange(60) * 3.0
NOISE = 0.025  # of line integrals up to 2 from 20000 photons, and flats of 10 frames
READERS = [
    "h5py",
    "lazy",
    pytest.param(
        "dxchange", marks=pytest.mark.skipif(not scans.real_dxchange(), reason="the real dxchange is not installed")
    ),
]


def read(path, reader, **chosen):
    if reader == "lazy":
        projections, theta = open_projections(path, **chosen)
        return np.asarray(projections), theta
    return io.read_projections(path, reader=reader, **chosen)


def file_of(scan, path, theta=DEGREES, **changed):
    parts = {key: changed.get(key, scan[key]) for key in ("data", "flat", "dark")}
    return scans.write(path, **parts, theta=theta, **{k: v for k, v in changed.items() if k not in parts})
