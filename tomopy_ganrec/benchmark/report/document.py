"""Report of a benchmark in Markdown and reST, and its texts, which the page shares."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tomopy_ganrec.benchmark.rows import Row

from .case_names import case_name, case_parts, method_order
from .markup import Markup, code, escape, heading, markup_table
from .summaries import peer_of, summarize
from .tables import method_table, table_cells

__all__ = [
    "DIGITS",
    "LEGEND",
    "SCAN_LEGEND",
    "MethodNote",
    "ScanTable",
    "Section",
    "document",
    "failures",
    "machines",
    "method_notes",
    "scan_table",
    "sections",
    "summary_line",
    "title",
]

DIGITS = {"mssim": 4, "mssim_7x7": 4, "rmse": 4, "mcc": 4, "time": 2, "seconds": 2}
LEGEND = (
    "Mean ± standard deviation over slices; in brackets the mean over slices of the standard deviation over seeds of "
    "the fit. Bold: the best among methods that use no truth and have all slices. TV and GANrec are 0 outside of the "
    "field of view; the others are scored as they come. †: oracle, a parameter was chosen by the truth. –: not a "
    "finite number. Empty: not run."
)
SCAN_LEGEND = (
    "Means over slices. Residual: relative data residual of the projections used; held out: of those not used. "
    "Distance: relative distance to the same method's slice from the full range. Lower is better, but a low residual "
    "alone is no proof of a good image. MCC: Matthews' correlation of Otsu's segmentation with that of TV from the "
    "full range; MSSIM: structural similarity to that TV. Higher is better."
)
_SEEDS = {"object_seed": "object seed", "seed": "seed"}
_SCAN_VALUES = {
    "mcc": "MCC",
    "mssim": "MSSIM",
    "residual": "residual",
    "residual_heldout": "held out",
    "distance": "distance",
    "seconds": "seconds",
}


def title(extra: Mapping[str, Any]) -> str:
    """The heading of the report."""
    return extra.get("title") or "Missing-wedge reconstructions compared"


def summary_line(rows: Sequence[Row]) -> str:
    """Numbers of cases, methods and reconstructions, and how many of these failed."""
    failed = sum(row["status"] != "ok" for row in rows)
    counts = [
        (len({row["case"] for row in rows}), "case"),
        (len({row["method"] for row in rows}), "method"),
        (len(rows), "reconstruction"),
    ]
    line = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts)
    return line + (f", {failed} of them failed." if failed else ".")


class Section(NamedTuple):
    """A table of simulated cases: its heading, its value, and a remark."""

    heading: str
    value: str
    remark: str


def sections(rows: Sequence[Row]) -> list[Section]:
    """The tables of simulated cases; none without such cases."""
    simulated = [row for row in rows if row["protocol"] != "measured"]
    if not simulated:
        return []
    quality = [
        Section("MSSIM", "mssim", "Mean structural similarity to the truth, Gaussian window of 1.5 pixels."),
        Section("RMSE", "rmse", "Root mean square error, in units of the object; lower is better."),
        Section(
            "MSSIM, 7 × 7 window", "mssim_7x7", "Mean structural similarity with a uniform window of 7 × 7 pixels."
        ),
    ]
    name = peer_of(simulated)
    peer = next((row["label"] or row["method"] for row in simulated if row["method"] == name), None)
    if peer is None:
        remark = "Of a reconstruction; where each ran stands under Methods."
        return [*quality, Section("Seconds per slice", "seconds", remark)]
    remark = (
        f"Seconds of a reconstruction relative to those of {peer} on the same slices; where each ran stands under "
        "Methods."
    )
    return [*quality, Section(f"Time per slice relative to {peer}", "time", remark)]


class MethodNote(NamedTuple):
    """A method's description, parameters and devices."""

    method: str
    label: str
    oracle: bool
    description: str
    parameters: list[str]
    devices: list[str]


def method_notes(rows: Sequence[Row], order: Sequence[str], extra: Mapping[str, Any]) -> list[MethodNote]:
    """One note for each method; parameters that were not the same in all runs stand one after the other."""
    descriptions, notes = extra.get("descriptions") or {}, []
    for method in order:
        group = [row for row in rows if row["method"] == method]
        parameters = list(dict.fromkeys(row["parameters"] for row in group if row["parameters"]))
        devices = list(dict.fromkeys(row["device"] for row in group if row["device"]))
        oracle, label = any(row["oracle"] for row in group), group[0]["label"] or method
        notes.append(MethodNote(method, label, oracle, descriptions.get(method) or "", parameters, devices))
    return notes


def failures(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The reconstructions that failed, and why."""
    failed = []
    for row in rows:
        if row["status"] != "ok":
            seeds = [f"{what} {row[name]}" for name, what in _SEEDS.items() if row[name] is not None]
            numbers = ", ".join([f"slice {row['slice']}", *seeds])
            where = f"{row['label'] or row['method']}: {case_name(row)}, {numbers}"
            failed.append((where, row["error"] or "no reason was kept"))
    return failed


def machines(rows: Sequence[Row]) -> str:
    """Versions of packages that took part; several where they changed during the benchmark."""
    return " | ".join(dict.fromkeys(row["versions"] for row in rows if row["versions"]))


class ScanTable(NamedTuple):
    """A table of measured scans: a header, and for each line its summary and its texts."""

    header: list[str]
    lines: list[tuple[dict[str, Any], list[str]]]


def scan_table(rows: Sequence[Row], order: Sequence[str]) -> ScanTable | None:
    """One line for each measured case and method; None without scans."""
    summaries = summarize([row for row in rows if row["protocol"] == "measured"])
    if not summaries:
        return None
    rank = {case: k for k, case in enumerate(dict.fromkeys(s["case"] for s in summaries))}
    summaries.sort(key=lambda s: (rank[s["case"]], order.index(s["method"])))
    compared = [name for name in ("mcc", "mssim", "distance") if any(s[name] is not None for s in summaries)]
    values = {
        name: head
        for name, head in _SCAN_VALUES.items()
        if name in (*compared, "residual", "residual_heldout", "seconds")
    }
    numbers = {name: table_cells(summaries, name, DIGITS.get(name, 3)) for name in values}
    lines = []
    for s in summaries:
        parts = case_parts(s)
        slices = str(s["slices"]) if s["seconds_n"] == s["slices"] else f"{s['seconds_n']} of {s['slices']}"
        label = s["label"] + (" †" if s["oracle"] else "")
        measures = [numbers[name][s["case"], s["method"]].text for name in values]
        lines.append((s, [parts["object"], parts["size"], parts["angular range"], label, slices, *measures]))
    return ScanTable(["scan", "size", "angular range", "method", "slices", *values.values()], lines)


def _plain(text: str, markup: Markup) -> str:
    return escape(text, markup) + "\n"


def _results(rows: Sequence[Row], order: Sequence[str], markup: Markup) -> list[str]:
    """Tables of simulated cases and of scans."""
    simulated = [row for row in rows if row["protocol"] != "measured"]
    parts = []
    for section in sections(rows):
        table = method_table(simulated, order, section.value, markup, DIGITS[section.value])
        parts += [heading(section.heading, 1, markup), _plain(section.remark, markup), table]
    if simulated:
        parts.append(_plain(LEGEND, markup))
    scans = scan_table(rows, order)
    if scans:
        body = [[escape(text, markup) for text in texts] for _, texts in scans.lines]
        table = markup_table(scans.header, body, markup)
        parts += [heading("Measured scans", 1, markup), table, _plain(SCAN_LEGEND, markup)]
    return parts


def _methods(rows: Sequence[Row], order: Sequence[str], extra: Mapping[str, Any], markup: Markup) -> list[str]:
    """Notes on methods, versions, and what was unavailable or failed."""
    items = []
    for note in method_notes(rows, order, extra):
        about = [escape(note.description, markup)] if note.description else []
        if note.oracle:
            about.append("oracle: a parameter was chosen by the truth")
        about += [escape(text, markup) for text in note.parameters]
        about += [f"on {escape(', '.join(note.devices), markup)}"] if note.devices else []
        items.append(f"* **{escape(note.label, markup)}** ({code(note.method, markup)}): {'; '.join(about)}")
    parts = [heading("Methods", 1, markup), "\n".join(items) + "\n"]
    if machines(rows):
        parts.append(_plain(f"Versions: {machines(rows)}.", markup))
    unavailable = extra.get("unavailable") or {}
    if unavailable:
        lines = [f"* **{escape(name, markup)}**: {escape(reason, markup)}" for name, reason in unavailable.items()]
        parts += [heading("Unavailable methods", 1, markup), "\n".join(lines) + "\n"]
    failed = failures(rows)
    if failed:
        lines = [f"* {escape(where, markup)}: {code(error, markup)}" for where, error in failed]
        parts += [heading("Failed", 1, markup), "\n".join(lines) + "\n"]
    return parts


def document(rows: Sequence[Row], extra: Mapping[str, Any], markup: Markup) -> str:
    """The whole report without its images.

    Parameters
    ----------
    rows : list of dict
    extra : dict
        As of `write_report`.
    markup : {'md', 'rst'}
    """
    order = method_order(rows, extra.get("descriptions") or ())
    parts = [heading(title(extra), 0, markup)]
    if extra.get("command"):
        parts += [f"{code(line, markup)}\n" for line in extra["command"].splitlines()]
    parts.append(_plain(summary_line(rows), markup))
    parts += _results(rows, order, markup)
    parts += _methods(rows, order, extra, markup)
    return "\n".join(parts)
