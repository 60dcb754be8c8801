"""Draws the tables of README.rst and docs/quality.rst from ``docs/results``, between the lines ``.. begin NAME`` and ``.. end NAME``.

    python docs/tools/result_tables.py            # rewrites them
    python docs/tools/result_tables.py --check    # only says whether they are up to date

The results were made by the commands that each table names; ``tomopy-ganrec benchmark`` writes them as ``results.csv``.
"""

import argparse
import re
import sys
from pathlib import Path

from tomopy_ganrec.benchmark.methods import methods
from tomopy_ganrec.benchmark.report.tables import case_parts, escape, markup_table, method_order, read_csv, summarize

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
NOISE = ("noise-free", "1e5 photons", "1e4 photons")
WHEN = ("gridrec-padded", "mlem", "astra-sirt", "tv", "ganrec")
PARTS = (
    "tv", "tv-oracle", "ganrec-start", "ganrec-no-network", "ganrec-no-discriminator", "ganrec", "ganrec-best-unlearned", "ganrec-best"
)  # fmt: skip


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".removeprefix("0") if value < 1 else f"{value:.{digits - 1}f}"


def angles() -> str:
    """MSSIM of each method against the wedge: mean ± standard deviation over slices."""
    rows = [
        row for row in read_csv(RESULTS / "shale_256_pixel.csv") if row["method"] != "mlem"
    ]  # the same as ASTRA's, for times only
    summaries = summarize(rows)
    wedges = sorted({s["wedge"] for s in summaries}, key=int, reverse=True)
    body = []
    for method in method_order(rows, methods()):
        of = {s["wedge"]: s for s in summaries if s["method"] == method}
        cells = []
        for wedge in wedges:
            s = of.get(wedge)
            if s is None:
                cells.append("")
            else:
                cells.append(
                    _short(s["mssim"], 4) + (f" ± {_short(s['mssim_std'], 4)}" if s["mssim_std"] is not None else "")
                )
        body.append([escape(next(iter(of.values()))["label"], "rst"), *cells])
    slices = max(s["slices"] for s in summaries)
    return (
        markup_table(["method", *(f"{w}°" for w in wedges)], body, "rst")
        + f"\n{slices} slices; ``preset='paper'`` on one.\n"
    )


def _objects(rows, columns, bold=True) -> tuple[str, float]:
    """MSSIM of each method over object and wedge, for three kinds of noise in one cell, the best of each bold; and the largest standard deviation
    over objects of TV and GANrec."""
    summaries = summarize(rows)
    labels = {s["method"]: s["label"] for s in summaries}
    columns = [name for name in columns if name in labels]
    found, rank = {}, {}
    objects = list(dict.fromkeys(s["object"] for s in summaries))
    for s in summaries:
        parts = case_parts(s)
        found[parts["object"], parts["wedge"], parts["noise"], s["method"]] = s
        rank[parts["object"], parts["wedge"]] = (objects.index(s["object"]), "/" in s["wedge"], -s["degrees"])
    body, largest = [], 0.0
    for key in sorted(rank, key=rank.get):
        cells = []
        best = {
            n: max((round(found[(*key, n, m)]["mssim"], 3) for m in columns if (*key, n, m) in found), default=None)
            for n in NOISE
        }
        for method in columns:
            texts = []
            for noise in NOISE:
                s = found.get((*key, noise, method))
                if s is None:
                    texts.append("–")
                    continue
                if method in ("tv", "ganrec"):
                    largest = max(largest, s["mssim_std"] or 0.0)
                text = _short(s["mssim"], 3)
                texts.append(f"**{text}**" if bold and round(s["mssim"], 3) == best[noise] else text)
            cells.append(" / ".join(texts) if set(texts) != {"–"} else "")
        body.append([*key, *cells])
    return markup_table(["object", "wedge", *(escape(labels[m], "rst") for m in columns)], body, "rst"), largest


def when() -> str:
    """Methods that a user has, mean over objects."""
    table, largest = _objects(read_csv(RESULTS / "objects_128_subpixel.csv"), WHEN)
    return table + f"\nStandard deviation over the objects: at most {_short(largest, 3)} for TV and GANrec.\n"


def ablation() -> str:
    """GANrec part by part, on one object of each kind."""
    rows = [row for row in read_csv(RESULTS / "objects_128_subpixel.csv") if row["object_seed"] == 1000]
    return _objects(rows, PARTS, bold=False)[0]


DOCUMENTS = {"README.rst": {"angles": angles, "when": when}, "docs/quality.rst": {"ablation": ablation}}


def drawn(text: str, tables: dict) -> str:
    """A document with its tables drawn anew."""
    for name, table in tables.items():
        text, count = re.subn(
            rf"(?ms)^\.\. begin {name}\n.*?^\.\. end {name}\n",
            lambda m, t=table, n=name: f".. begin {n}\n\n{t()}\n.. end {n}\n",
            text,
        )
        if count != 1:
            raise SystemExit(
                f"the lines '.. begin {name}' and '.. end {name}' are needed once; they were found {count} times"
            )
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    for name, tables in DOCUMENTS.items():
        old = (ROOT / name).read_text()
        new = drawn(old, tables)
        if not arguments.check:
            (ROOT / name).write_text(new)
        elif new != old:
            sys.exit(f"{name} is not up to date: run python docs/tools/result_tables.py")


if __name__ == "__main__":
    main()
