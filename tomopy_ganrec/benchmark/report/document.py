"""What a report says, and how it is said in Markdown and reST."""

from typing import NamedTuple

from . import tables

__all__ = [
    "DIGITS",
    "LEGEND",
    "SCAN_LEGEND",
    "document",
    "failures",
    "machines",
    "method_notes",
    "scan_table",
    "sections",
    "summary_line",
    "title",
]

DIGITS = {"mssim": 4, "mssim_7x7": 4, "rmse": 4, "time": 2, "seconds": 2}
LEGEND = (
    "Mean ± standard deviation over slices; in brackets the mean over slices of the standard deviation over seeds of the fit. Bold: the best "
    "among methods that know no truth and have all slices. TV and GANrec are 0 outside of the field of view; "
    "the others are scored as they come. †: oracle, a parameter was chosen by the truth. –: not a finite number. Empty: not run."
)
SCAN_LEGEND = (
    "Means over slices. Residual: relative data residual of the projections used; held out: of those not used. Distance: relative distance "
    "to the same method's slice from the full range. Lower is better, but a low residual alone is no proof of a good image."
)
_SEEDS = {"object_seed": "object seed", "seed": "seed"}
_SCAN_VALUES = {
    "mssim": "MSSIM",
    "residual": "residual",
    "residual_heldout": "held out",
    "distance": "distance",
    "seconds": "seconds",
}


def title(extra) -> str:
    return extra.get("title") or "Missing-wedge reconstructions compared"


def summary_line(rows) -> str:
    """How much there is."""
    failed = sum(row["status"] != "ok" for row in rows)
    counts = [
        (len({row["case"] for row in rows}), "case"),
        (len({row["method"] for row in rows}), "method"),
        (len(rows), "reconstruction"),
    ]
    return ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts) + (
        f", {failed} of them failed." if failed else "."
    )


def sections(rows) -> list[tuple[str, str, str]]:
    """The tables of simulated cases: heading, value, remark."""
    simulated = [row for row in rows if row["protocol"] != "measured"]
    if not simulated:
        return []
    found = [
        ("MSSIM", "mssim", "Mean structural similarity to the truth, Gaussian window of 1.5 pixels."),
        ("RMSE", "rmse", "Root mean square error, in units of the object; lower is better."),
        ("MSSIM, 7 × 7 window", "mssim_7x7", "Mean structural similarity with a uniform window of 7 × 7 pixels."),
    ]
    peer = next(
        (row["label"] or row["method"] for row in simulated if row["method"] == tables.peer_of(simulated)), None
    )
    if peer:
        remark = f"Seconds of a reconstruction relative to those of {peer} on the same slices; where each ran stands under Methods."
        return [*found, (f"Time per slice relative to {peer}", "time", remark)]
    return [*found, ("Seconds per slice", "seconds", "Of a reconstruction; where each ran stands under Methods.")]


class MethodNote(NamedTuple):
    """What there is to know of a method besides its numbers."""

    method: str
    label: str
    oracle: bool
    description: str
    parameters: list[str]
    devices: list[str]


def method_notes(rows, order, extra) -> list[MethodNote]:
    """One note for each method; parameters that were not the same in all cells stand one after the other."""
    descriptions, notes = extra.get("descriptions") or {}, []
    for method in order:
        group = [row for row in rows if row["method"] == method]
        parameters = list(dict.fromkeys(row["parameters"] for row in group if row["parameters"]))
        devices = list(dict.fromkeys(row["device"] for row in group if row["device"]))
        oracle = any(row["oracle"] for row in group)
        notes.append(
            MethodNote(method, group[0]["label"] or method, oracle, descriptions.get(method) or "", parameters, devices)
        )
    return notes


def failures(rows) -> list[tuple[str, str]]:
    """Which cells failed, and why."""
    found = []
    for row in rows:
        if row["status"] != "ok":
            numbers = [f"slice {row['slice']}"] + [
                f"{what} {row[name]}" for name, what in _SEEDS.items() if row[name] is not None
            ]
            where = f"{row['label'] or row['method']}: {tables.case_name(row)}, {', '.join(numbers)}"
            found.append((where, row["error"] or "no reason was kept"))
    return found


def machines(rows) -> str:
    """Versions of packages that took part; several where they changed during the run."""
    return " | ".join(dict.fromkeys(row["versions"] for row in rows if row["versions"]))


class ScanTable(NamedTuple):
    """A table of measured scans: a header, and for each line its summary and its texts."""

    header: list[str]
    lines: list[tuple[dict, list[str]]]


def scan_table(rows, order) -> ScanTable | None:
    """One line for each measured case and method; None without scans."""
    summaries = tables.summarize([row for row in rows if row["protocol"] == "measured"])
    if not summaries:
        return None
    rank = {case: k for k, case in enumerate(dict.fromkeys(s["case"] for s in summaries))}
    summaries.sort(key=lambda s: (rank[s["case"]], order.index(s["method"])))
    values = {
        name: head
        for name, head in _SCAN_VALUES.items()
        if name != "mssim" or any(s["mssim"] is not None for s in summaries)
    }
    numbers = {name: tables.cells(summaries, name, DIGITS.get(name, 3)) for name in values}
    lines = []
    for s in summaries:
        parts = tables.case_parts(s)
        slices = str(s["slices"]) if s["seconds_n"] == s["slices"] else f"{s['seconds_n']} of {s['slices']}"
        texts = [numbers[name][s["case"], s["method"]].text for name in values]
        lines.append(
            (
                s,
                [
                    parts["object"],
                    parts["size"],
                    parts["wedge"],
                    s["label"] + (" †" if s["oracle"] else ""),
                    slices,
                    *texts,
                ],
            )
        )
    return ScanTable(["scan", "size", "wedge", "method", "slices", *values.values()], lines)


def document(rows, extra, format) -> str:
    """The whole report without its images.

    Parameters
    ----------
    rows : list of dict
    extra : dict
        As of `write_report`.
    format : {'md', 'rst'}
    """

    def heading(text, level):
        text = tables.escape(text, format)
        return f"{'#' * (level + 1)} {text}\n" if format == "md" else f"{text}\n{'=-'[level] * len(text)}\n"

    def code(text):
        text = " ".join(text.split())
        if format == "md":
            fence = "`" * (
                max((len(run) for run in text.replace("`", " `").split() if set(run) == {"`"}), default=text.count("`"))
                + 1
            )
            return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"
        return f"``{text}``" if "`" not in text and text else tables.escape(text, format)

    def plain(text):
        return tables.escape(text, format) + "\n"

    simulated = [row for row in rows if row["protocol"] != "measured"]
    order = tables.method_order(rows, extra.get("descriptions") or ())
    parts = [heading(title(extra), 0)]
    if extra.get("command"):
        parts += [f"{code(line)}\n" for line in extra["command"].splitlines()]
    parts.append(plain(summary_line(rows)))
    for name, value, remark in sections(rows):
        parts += [heading(name, 1), plain(remark), tables.method_table(simulated, order, value, format, DIGITS[value])]
    if simulated:
        parts.append(plain(LEGEND))
    scans = scan_table(rows, order)
    if scans:
        body = [[tables.escape(text, format) for text in texts] for _, texts in scans.lines]
        parts += [heading("Measured scans", 1), tables.markup_table(scans.header, body, format), plain(SCAN_LEGEND)]
    parts.append(heading("Methods", 1))
    items = []
    for note in method_notes(rows, order, extra):
        about = [tables.escape(note.description, format)] if note.description else []
        about += ["oracle: a parameter was chosen by the truth"] * note.oracle
        about += [tables.escape(text, format) for text in note.parameters]
        about += [f"on {tables.escape(', '.join(note.devices), format)}"] if note.devices else []
        items.append(f"* **{tables.escape(note.label, format)}** ({code(note.method)}): {'; '.join(about)}")
    parts.append("\n".join(items) + "\n")
    if machines(rows):
        parts.append(plain(f"Versions: {machines(rows)}."))
    unavailable = extra.get("unavailable") or {}
    if unavailable:
        lines = [
            f"* **{tables.escape(name, format)}**: {tables.escape(reason, format)}"
            for name, reason in unavailable.items()
        ]
        parts += [heading("Unavailable methods", 1), "\n".join(lines) + "\n"]
    failed = failures(rows)
    if failed:
        lines = [f"* {tables.escape(where, format)}: {code(error)}" for where, error in failed]
        parts += [heading("Failed", 1), "\n".join(lines) + "\n"]
    return "\n".join(parts)
