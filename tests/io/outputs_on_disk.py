"""Outputs that tests of journals and of outputs on disk write: their identity, names and a half-finished one."""

import numpy as np

from tomopy_ganrec.io.outputs import output_of

SHAPE = (6, 5, 4)
IDENTITY = {
    "data": {"shape": [6, 9, 4], "sha256": "a" * 64},
    "options": {"num_iter": 100, "seed": 0},
    "theta": np.linspace(0, 2, 9),
}


def journal_of(path):
    return path.with_name(path.name + ".progress.jsonl") if path.suffix else path / "progress.jsonl"


def begun(path, identity=IDENTITY, shape=SHAPE, resume=True, **kwargs):
    output = output_of(path, shape, **kwargs)
    output.begin(identity, resume)
    return output


def half_done(path, volume):
    """An output with slices 1, 2 and 5 finished."""
    output = begun(path)
    for indices in ([1, 2], [5]):
        output.write(indices, volume[indices])
        output.mark(indices, [{"iterations": 10 * k} for k in indices])
    output.close()
    return output
