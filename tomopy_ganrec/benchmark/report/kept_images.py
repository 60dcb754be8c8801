"""Slices whose reconstructions were stored as images, for figures and the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tomopy_ganrec.benchmark.rows import Row
from tomopy_ganrec.benchmark.store import Results

from .case_names import case_key, case_name, method_order
from .summaries import slice_key

__all__ = ["KeptImages", "gray_window", "kept_images"]


@dataclass(frozen=True)
class KeptImages:
    """The rows of one slice of one case whose images were stored, in the order of the methods."""

    rows: Sequence[Row]

    @property
    def measured(self) -> bool:
        """Whether it is of a scan, which has no truth."""
        return bool(self.rows[0]["protocol"] == "measured")

    @property
    def shared_reference(self) -> str:
        """What all are compared with, in a word: 'truth' or 'reference'; '' where each has its own full range."""
        if not self.measured:
            return "truth"
        return "reference" if any(row["mcc"] is not None for row in self.rows) else ""

    @property
    def case(self) -> str:
        """The name of the case."""
        return str(self.rows[0]["case"])

    @property
    def title(self) -> str:
        """Case and slice for reading."""
        row = self.rows[0]
        seed = "" if row["object_seed"] is None else f", object seed {row['object_seed']}"
        return f"{case_name(row)}, slice {row['slice']}{seed}"


def kept_images(rows: Sequence[Row], order: Iterable[str] = ()) -> list[KeptImages]:
    """Slices with images, in the order of the tables; `order` is that of the methods."""
    rank = {name: k for k, name in enumerate(method_order(rows, order))}

    def key(row: Row) -> tuple:
        return (case_key(row), row["object_seed"] or 0, row["slice"], rank[row["method"]], row["seed"] or 0)

    groups: dict[tuple, list[Row]] = {}
    for row in sorted(rows, key=key):
        if row["status"] == "ok" and row["image"]:
            groups.setdefault((row["case"], *slice_key(row)), []).append(row)
    return [KeptImages(group) for group in groups.values()]


def gray_window(results: Results, kept: KeptImages) -> tuple[float, float]:
    """The range of the truth; of a scan, the medians over methods of the 0.5 % and 99.5 % quantiles of references."""
    names = list(dict.fromkeys(row["reference"] for row in kept.rows if row["reference"]))
    if names and not kept.measured:
        truth = results.image(names[0])
        low, high = float(truth.min()), float(truth.max())
    else:
        names = names or list(dict.fromkeys(row["image"] for row in kept.rows))
        images = (np.nan_to_num(results.image(name)) for name in names)
        low, high = np.median([np.quantile(image, (0.005, 0.995)) for image in images], axis=0).tolist()
    return low, high if high > low else low + 1
