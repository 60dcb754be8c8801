"""Small Data Exchange files with an analytic object, and the faults that scans have."""

import numpy as np

from tomopy_ganrec.io.optional import import_dxchange

# centre (x, y), half axes, rotation in degrees, attenuation per column; in shares of half the detector
ELLIPSES = (
    (0.0, 0.0, 0.82, 0.74, 10, 0.6),
    (0.25, -0.2, 0.3, 0.12, 40, 0.9),
    (-0.35, 0.1, 0.1, 0.25, 0, -0.5),
    (0.1, 0.45, 0.08, 0.08, 0, 1.5),
    (-0.2, -0.45, 0.05, 0.05, 0, 1.0),
)


def real_dxchange() -> bool:
    """Whether the dxchange that is installed is the real one."""
    try:
        import_dxchange()
    except ImportError:
        return False
    return True


def line_integrals(degrees, columns=48, slices=1, largest=2.0):
    """(angles, slices, columns) of ellipses, averaged over each column; a slice differs a little from the next."""
    theta = np.deg2rad(np.asarray(degrees, float))[:, None]
    fine = 4
    t = ((np.arange(columns * fine) + 0.5) / (columns * fine) * 2 - 1)[None]
    out = []
    for k in range(slices):
        total = np.zeros((theta.size, t.size))
        for x, y, a, b, turn, value in ELLIPSES:
            angle = theta - np.deg2rad(turn)
            s2 = (a * np.cos(angle)) ** 2 + (b * np.sin(angle)) ** 2
            offset = t - (x + 0.01 * k) * np.cos(theta) + y * np.sin(theta)
            total += value * 2 * a * b * np.sqrt(np.clip(s2 - offset**2, 0, None)) / s2
        out.append(total.reshape(theta.size, columns, fine).mean(2))
    out = np.stack(out, axis=1)
    return largest * out / out.max()


def counts(degrees, columns=48, slices=1, photons=2e4, dark=100, seed=0, frames=10, largest=2.0):
    """(line integrals, projections, flats, darks) with photon noise, counts as uint16."""
    rng = np.random.default_rng(seed)
    integrals = line_integrals(degrees, columns, slices, largest)
    gain = rng.normal(1, 0.02, (1, slices, columns))
    data = rng.poisson(photons * gain * np.exp(-integrals)) + dark
    flat = rng.poisson(np.broadcast_to(photons * gain, (frames, slices, columns))) + dark
    darks = np.clip(np.rint(rng.normal(dark, 2 if dark else 0, (frames, slices, columns))), 0, None)
    return integrals, *(np.clip(a, 0, 65535).astype(np.uint16) for a in (data, flat, darks))


def write(path, data, flat=None, dark=None, theta=None, units=None, extra=None, group="exchange"):
    """A Data Exchange file of what is given."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in (("data", data), ("data_white", flat), ("data_dark", dark), ("theta", theta)):
            if value is not None:
                file[f"{group}/{name}"] = value
        if units is not None:
            file[f"{group}/theta"].attrs["units"] = units
        for name, value in (extra or {}).items():
            file[name] = value
    return path


def error(found, integrals):
    """Root mean square error of line integrals."""
    return float(np.sqrt(np.mean((np.asarray(found, float) - integrals) ** 2)))
