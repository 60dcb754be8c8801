"""Images of the page: embedded pictures, and the slices and choices that its viewer offers."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tomopy_ganrec import metrics
from tomopy_ganrec.benchmark.rows import Row
from tomopy_ganrec.benchmark.store import Results

from .case_names import case_name
from .kept_images import KeptImages, gray_window, kept_images
from .tables import format_number

__all__ = ["viewer_data"]

LARGEST = 512  # pixels a side of an embedded image; larger ones are reduced by area means
_MAP_COLORS = 32  # of SSIM maps: few, so that they are small
# The angular range first: a narrow screen cuts the end off.
_NAME = ("angular range", "object", "protocol", "size", "noise")


class _Pictures:
    """PNG files in base64, each once however often it is used."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # by source

    def add(self, image: Image.Image) -> str:
        """Add a picture, and return its name."""
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=9)
        source = base64.b64encode(file.getvalue()).decode()
        return self._names.setdefault(source, f"p{len(self._names)}")

    def by_name(self) -> dict[str, str]:
        return {name: source for source, name in self._names.items()}


def _reduced(image: np.ndarray) -> np.ndarray:
    """An image of at most `LARGEST` pixels a side."""
    picture = Image.fromarray(np.nan_to_num(np.asarray(image, np.float32)))
    scale = LARGEST / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture)


def _gray(image: np.ndarray, window: tuple[float, float]) -> Image.Image:
    low, high = window
    return Image.fromarray((np.clip((_reduced(image) - low) / (high - low), 0, 1) * 255).round().astype(np.uint8))


def _ssim_map(truth: np.ndarray, image: np.ndarray) -> Image.Image:
    values = np.clip(_reduced(metrics.ssim_map(truth, image)), 0, 1)
    picture = Image.fromarray((values * (_MAP_COLORS - 1)).round().astype(np.uint8)).convert("P")
    colors = colormaps["viridis"](np.linspace(0, 1, _MAP_COLORS))[:, :3]
    picture.putpalette((colors * 255).round().astype(np.uint8).tobytes())
    return picture


class _Slice:
    """One slice in the viewer: the truth or full ranges, and every method with every seed."""

    def __init__(self, results: Results, kept: KeptImages, pictures: _Pictures):
        self._results, self._kept, self._pictures = results, kept, pictures
        self._window = gray_window(results, kept)

    def _picture(self, name: str) -> str:
        return self._pictures.add(_gray(self._results.image(name), self._window))

    def _label(self, row: Row) -> str:
        seeds = sum(other["method"] == row["method"] for other in self._kept.rows)
        dagger = " †" if row["oracle"] else ""
        seed = f", seed {row['seed']}" if seeds > 1 else ""
        return f"{row['label'] or row['method']}{dagger}{seed}"

    def _value(self, row: Row) -> str:
        if row["mssim"] is None:
            return ""
        compared = "" if self._kept.shared_reference else "with its full range "
        mcc = "" if row["mcc"] is None else f"MCC {format_number(row['mcc'], 'mcc', 4)}, "
        return f"{mcc}MSSIM {compared}{format_number(row['mssim'], 'mssim', 4)}"

    def _of_method(self, row: Row) -> list[dict[str, str]]:
        """The choice of a row, after that of its full range where it is a scan's."""
        key, label = f"{row['method']}|{row['seed'] or 0}", self._label(row)
        choice = {"key": key, "label": label, "value": self._value(row), "picture": self._picture(row["image"])}
        if not row["reference"] or row["reference"] == row["image"]:
            return [choice]
        if not self._kept.shared_reference:
            picture = self._picture(row["reference"])
            return [{"key": f"full|{key}", "label": f"{label}, full range", "value": "", "picture": picture}, choice]
        if self._kept.measured:
            return [choice]
        truth, image = (self._results.image(row[column]) for column in ("reference", "image"))
        return [choice | {"map": self._pictures.add(_ssim_map(truth, image))}]

    def data(self) -> dict[str, Any]:
        """What the viewer shows of the slice."""
        rows, first = self._kept.rows, self._kept.rows[0]
        choices = []
        references = [row["reference"] for row in rows if row["reference"] and row["reference"] != row["image"]]
        shared = self._kept.shared_reference
        if references and shared:
            choices.append({"key": shared, "label": shared, "value": "", "picture": self._picture(references[0])})
        for row in rows:
            choices += self._of_method(row)
        seed = "" if first["object_seed"] is None else f", object {first['object_seed']}"
        height, width = self._results.image(first["image"]).shape
        low, high = self._window
        return {
            "name": f"{case_name(first, _NAME)}, slice {first['slice']}{seed}",
            "ratio": width / height,
            "choices": choices,
            "window": f"{low:.3g} to {high:.3g}",
        }


def viewer_data(results: Results, rows: Sequence[Row], order: Sequence[str]) -> dict[str, Any]:
    """Slices with their choices (``cases``), and the PNG files in base64 that they name (``pictures``)."""
    pictures = _Pictures()
    slices = [_Slice(results, kept, pictures).data() for kept in kept_images(rows, order)]
    return {"cases": slices, "pictures": pictures.by_name()}
