"""Draws the tables of README.rst and docs/quality.rst from ``docs/results``.

    python docs/tools/result_tables.py            # rewrites them
    python docs/tools/result_tables.py --check    # exits with a message if they are not up to date

They stand between the lines ``.. begin NAME`` and ``.. end NAME``. The results were made by the commands that each
table names; ``tomopy-ganrec benchmark`` writes them as ``results.csv``.
"""

import argparse
import re
import sys
from pathlib import Path

from tomopy_ganrec.benchmark.methods import methods
from tomopy_ganrec.benchmark.report.case_names import case_parts, method_order
from tomopy_ganrec.benchmark.report.csv_file import read_csv
from tomopy_ganrec.benchmark.report.markup import escape, markup_table
from tomopy_ganrec.benchmark.report.summaries import summarize

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
NOISE = ("noise-free", "1e5 photons", "1e4 photons")
WHEN = ("gridrec-padded", "mlem", "astra-sirt", "tv", "ganrec")
PARTS = (
    "tv",
    "tv-oracle",
    "ganrec-start",
    "ganrec-no-network",
    "ganrec-no-discriminator",
    "ganrec-unbounded",
    "ganrec",
    "ganrec-best",
)
BOUND = ("tv", "ganrec-unbounded", "ganrec")


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".removeprefix("0") if value < 1 else f"{value:.{digits - 1}f}"


def _mean(summary: dict | None) -> str:
    """MSSIM ± standard deviation over slices; '' for None."""
    if summary is None:
        return ""
    deviation = summary["mssim_std"]
    return _short(summary["mssim"], 4) + ("" if deviation is None else f" ± {_short(deviation, 4)}")


def angles() -> str:
    """MSSIM of each method against the angular range: mean ± standard deviation over slices."""
    rows = read_csv(RESULTS / "shale_256_pixel.csv")
    rows = [row for row in rows if row["method"] != "mlem"]  # the same as ASTRA's, for times only
    summaries = summarize(rows)
    ranges = sorted({s["angular_range"] for s in summaries}, key=int, reverse=True)
    body = []
    for method in method_order(rows, methods()):
        of_method = {s["angular_range"]: s for s in summaries if s["method"] == method}
        label = next(iter(of_method.values()))["label"]
        body.append([escape(label, "rst"), *(_mean(of_method.get(degrees)) for degrees in ranges)])
    slices = max(s["slices"] for s in summaries)
    table = markup_table(["method", *(f"{degrees}°" for degrees in ranges)], body, "rst")
    return f"{table}\n{slices} slices; ``preset='paper'`` on one.\n"


def _cell(summaries: dict, case: tuple, method: str, best: dict) -> str:
    """MSSIM for the three kinds of noise, the best of each bold; '' where the method has none."""
    texts = []
    for noise in NOISE:
        s = summaries.get((*case, noise, method))
        if s is None:
            texts.append("–")
            continue
        text = _short(s["mssim"], 3)
        texts.append(f"**{text}**" if round(s["mssim"], 3) == best.get(noise) else text)
    return " / ".join(texts) if set(texts) != {"–"} else ""


def _objects(rows, columns, bold=True) -> str:
    """MSSIM of each method by object and angular range, for three kinds of noise in one cell."""
    summaries = summarize(rows)
    labels = {s["method"]: s["label"] for s in summaries}
    columns = [name for name in columns if name in labels]
    objects = list(dict.fromkeys(s["object"] for s in summaries))
    of_case, rank = {}, {}
    for s in summaries:
        parts = case_parts(s)
        case = parts["object"], parts["angular range"]
        of_case[(*case, parts["noise"], s["method"])] = s
        rank[case] = objects.index(s["object"]), "/" in s["angular_range"], -s["degrees"]
    body = []
    for case in sorted(rank, key=rank.get):
        best = {}
        for noise in NOISE if bold else ():
            scores = [of_case[(*case, noise, m)]["mssim"] for m in columns if (*case, noise, m) in of_case]
            best[noise] = max((round(score, 3) for score in scores), default=None)
        body.append([*case, *(_cell(of_case, case, method, best) for method in columns)])
    header = ["object", "angular range", *(escape(labels[method], "rst") for method in columns)]
    return markup_table(header, body, "rst")


def when() -> str:
    """Methods that a user has, mean over objects."""
    rows = read_csv(RESULTS / "objects_128_subpixel.csv")
    largest = max(s["mssim_std"] or 0.0 for s in summarize(rows) if s["method"] in ("tv", "ganrec"))
    deviation = f"Standard deviation over the objects: at most {_short(largest, 3)} for TV and GANrec.\n"
    return f"{_objects(rows, WHEN)}\n{deviation}"


def ablation() -> str:
    """GANrec part by part, on one object of each kind."""
    rows = [row for row in read_csv(RESULTS / "objects_128_subpixel.csv") if row["object_seed"] == 1000]
    return _objects(rows, PARTS, bold=False)


def bound() -> str:
    """What the attenuation bound brings, mean over objects, where a wedge is missing."""
    rows = [row for row in read_csv(RESULTS / "objects_128_subpixel.csv") if row["angular_range"] != "180"]
    return f"{_objects(rows, BOUND)}\n"


DOCUMENTS = {"README.rst": {"angles": angles, "when": when}, "docs/quality.rst": {"bound": bound, "ablation": ablation}}


def drawn(text: str, tables: dict) -> str:
    """A document with its tables drawn anew."""
    for name, table in tables.items():
        pattern = rf"(?ms)^\.\. begin {name}\n.*?^\.\. end {name}\n"
        new = f".. begin {name}\n\n{table()}\n.. end {name}\n"
        text, count = re.subn(pattern, lambda _, new=new: new, text)
        if count != 1:
            raise SystemExit(
                f"the lines '.. begin {name}' and '.. end {name}' are needed once; they were found {count} times"
            )
    return text


def main():
    """Rewrite or check the documents."""
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
