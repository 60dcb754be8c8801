"""Names of options: those of earlier versions, TomoPy's own keywords, and what was probably meant by an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

__all__ = ["ADDED", "RENAMED", "RENAMED_VALUES", "TOMOPY_KEYWORDS", "nearest_option", "renamed_options"]

# Keywords that TomoPy itself passes to a callable algorithm or documents for its own; they do not concern this one.
TOMOPY_KEYWORDS = frozenset(
    (
        "filter_name",
        "filter_par",
        "num_block",
        "ind_block",
        "reg_par",
        "reg_data",
        # the GPU versions of mlem and sirt; their `device` is an option here
        "accelerated",
        "pool_size",
        "interpolation",
        "grid_size",
        "block_size",
        # tomopy.astra; its `num_iter` and `gpu_list` are options here
        "method",
        "proj_type",
        "extra_options",
        # tomopy.lprec
        "lpmethod",
        "interp_type",
        "filter_type",
    )
)

# The names that options had while 0.1.0 was written, and their names now; and values likewise.
RENAMED = {
    "strength": "tv_weight",
    "epsilon": "edge_threshold",
    "along": "wedge_tv_weight",
    "reweight": "reweight_rounds",
    "learn": "wedge_rounds",
    "refine": "grid_factor",
    "stack": "joint_slices",
    "spread": "uncertainty_samples",
    "pixels": "pixel_model",
}
RENAMED_VALUES = {"pixel_model": {"mean": "area", "box": "point"}}
# Options that came later, and the value with which a reconstruction is what it was before.
ADDED = {"max_attenuation": None}


def renamed_options(options: Mapping, names: Mapping[str, str] = RENAMED) -> dict:
    """A dictionary of options, such as one kept in a file, with the names and values that they have now.

    `names` takes old names to new ones; a record of a slice, in which some options stand, has more of them.
    """
    renamed = {names.get(name, name): value for name, value in options.items()}
    for name, values in RENAMED_VALUES.items():
        if isinstance(renamed.get(name), str):
            renamed[name] = values.get(renamed[name], renamed[name])
    return renamed


def nearest_option(name: object, known: Sequence[str]) -> str | None:
    """The option that was probably meant by a `name` that is not one of the `known` options."""
    if not isinstance(name, str):
        return None
    now = RENAMED.get(name)
    if now in known:
        return now
    near = difflib.get_close_matches(name, [*known, *RENAMED], n=1)
    return RENAMED.get(near[0], near[0]) if near else None
