"""Rows and folders of results for tests of the report, and readers of what was written."""

import base64
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tomopy_ganrec.benchmark.rows import COLUMNS
from tomopy_ganrec.benchmark.store import Results

ATTACK = (
    'ValueError: </script><script>bad()</script><img src=x onerror="bad()"> & "quoted", `ticked` {{title}}\n'
    "  second line"
)
EXTRA = {
    "title": "Shale & <foam>",
    "command": "tomopy-ganrec benchmark --title '<b>'",
    "descriptions": {
        "gridrec": "Fourier gridding",
        "astra-mlem": "the peer | of *all*",
        "ganrec": "this package",
        "tv": "best weight",
    },
    "unavailable": {"tomopy-tv": "no module named <tomopy>"},
}
LABELS = {"gridrec": "gridrec", "astra-mlem": "MLEM, 200", "ganrec": "GANrec", "tv": "TV_best|*"}
MSSIM = {"gridrec": 0.5, "astra-mlem": 0.7, "ganrec": 0.9, "tv": 0.95}
LOSS = {"180": 0.0, "120": 0.1, "51/70": 0.3}
SECONDS = {"gridrec": 0.1, "astra-mlem": 2.0, "ganrec": 8.0, "tv": 3.0}
GRAY = {"truth": 0.0, "gridrec": 0.2, "astra-mlem": 0.4, "tv": 0.6, "ganrec": 0.8}


def row(**columns):
    texts = {"error": "", "image": "", "reference": "", "device": "cpu", "versions": "numpy 2"}
    texts |= {"parameters": "num_iter=1", "status": "ok", "setup": "test"}
    measured = {"oracle": False, "size": 32, "protocol": "pixel", "slice": 0}
    return dict.fromkeys(COLUMNS) | texts | measured | columns


def image(value):
    """A constant slice with a bright first line, so that the truth spans 0 to 1."""
    pixels = np.full((32, 32), value, np.float32)
    pixels[0] = 1
    return pixels


def simulated_rows():
    """Two objects × three angular ranges × four methods × two slices, two seeds of ganrec.

    One reconstruction failed, of one method all failed, and of one all are NaN.
    """
    for name, photons in (("shale", None), ("foam", 1e5)):
        for angular_range in LOSS:
            for k in (0, 1):
                for method in MSSIM:
                    for seed in (0, 1) if method == "ganrec" else (None,):
                        yield simulated_row(name, photons, angular_range, k, method, seed)


def simulated_row(name, photons, angular_range, k, method, seed):
    value = MSSIM[method] - LOSS[angular_range] + 0.02 * k + 0.01 * (seed or 0)
    columns = row(
        case=f"{name}-{angular_range.replace('/', 'over')}",
        object=name,
        angular_range=angular_range,
        degrees=float(angular_range.split("/")[-1]),
        projections=51,
        photons=photons,
        slice=k,
        object_seed=3,
        method=method,
        label=LABELS[method],
        seed=seed,
        oracle=method == "tv",
        mssim=value,
        mssim_7x7=value - 0.01,
        rmse=1 - value,
        residual=0.01,
        seconds=SECONDS[method] + k,
    )
    if method != "gridrec":
        return columns
    if (name, angular_range, k) == ("shale", "120", 1) or (name, angular_range) == ("foam", "180"):
        return columns | dict.fromkeys(("mssim", "mssim_7x7", "rmse", "residual", "seconds")) | failure()
    if (name, angular_range) == ("foam", "51/70"):
        return columns | {"mssim": math.nan, "rmse": math.inf}
    return columns


def failure():
    return {"status": "failed", "error": ATTACK}


def scan_rows():
    for angular_range in ("full", "0:120"):
        for method in ("gridrec", "ganrec"):
            known = dict(
                case=f"tooth-{angular_range.replace(':', 'to')}",
                object="tooth",
                protocol="measured",
                angular_range=angular_range,
                projections=120,
                slice=7,
            )
            known |= dict(
                degrees=180.0 if angular_range == "full" else 120.0,
                method=method,
                label=LABELS[method],
                seed=0 if method == "ganrec" else None,
            )
            judged = dict(residual_heldout=0.0876, distance=0.25) if angular_range != "full" else {}
            yield row(**known, residual=0.0123, seconds=12.34, **judged)


def fabricate(folder, rows=None, images=None):
    """A results folder; slice 0 of each case, or of those in `images`, keeps its images.

    They are constant grey, darker by 0.1 for foam.
    """
    results = Results(folder)
    for columns in [*simulated_rows(), *scan_rows()] if rows is None else rows:
        darker = 0.1 if columns["object"] == "foam" else 0.0
        if images is not None and columns["case"] not in images:
            pass
        elif columns["status"] == "ok" and columns["slice"] == 0:
            columns["image"] = results.keep_image(
                columns, f"{columns['method']}-{columns['seed']}", image(GRAY[columns["method"]] - darker)
            )
            columns["reference"] = results.keep_image(columns, "truth", image(GRAY["truth"]))
        elif columns["protocol"] == "measured":
            full = np.random.default_rng(len(columns["method"])).random((32, 32))
            columns["image"] = results.keep_image(
                columns, columns["method"], full if columns["angular_range"] == "full" else full / 2
            )
            if columns["angular_range"] != "full":
                columns["reference"] = results.keep_image(columns | {"case": "tooth-full"}, columns["method"], full)
        results.save(columns)
    return results


def md_cells(text):
    """Rows of the first Markdown table in a text, without emphasis and escapes."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")] for line in lines]
    return [
        [cell.replace("**", "").replace("\0", "|").replace("\\", "") for cell in line]
        for line in split
        if set("".join(line)) != {"-"}
    ]


def rst_tree(text):
    core = pytest.importorskip("docutils.core")
    return core.publish_doctree(
        text, settings_overrides={"report_level": 1, "halt_level": 1, "warning_stream": False}
    )  # any remark raises


def rst_cells(tree):
    from docutils import nodes

    table = next(iter(tree.findall(nodes.table)))
    return [[entry.astext() for entry in line.findall(nodes.entry)] for line in table.findall(nodes.row)]


class Reader(HTMLParser):
    """What a browser finds: tags, what they refer to, text outside of scripts, and the data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.handlers, self.text, self.scripts, self._script = [], [], [], [], [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")
        self.references += [
            value for name, value in attributes if name in ("src", "href", "data", "action", "srcset", "poster")
        ]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts[-1] += data
        else:
            self.text.append(data)

    @property
    def viewer(self):
        return json.loads(self.scripts[0])


def picture(viewer, name):
    with Image.open(io.BytesIO(base64.b64decode(viewer["pictures"][name]))) as opened:
        return opened.mode, np.asarray(opened)
