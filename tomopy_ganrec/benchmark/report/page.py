"""Report as one HTML file that needs nothing else: tables to sort, the plot, and images to swipe between."""

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tomopy_ganrec.benchmark.rows import Row
from tomopy_ganrec.benchmark.store import Results

from . import document
from .case_names import CASE_PARTS, case_name, case_parts, varying
from .summaries import summarize
from .tables import TableCell, table_cells
from .viewer import viewer_data

__all__ = ["page"]

_Line = tuple[dict[str, str], list[tuple[str, object]]]  # attributes, and for each column its HTML and its sort key


def page(
    results: Results, rows: Sequence[Row], order: Sequence[str], extra: Mapping[str, Any], plot: Path | None = None
) -> str:
    """The page as HTML.

    Parameters
    ----------
    results : Results
        For the images.
    rows : list of dict
    order : list of str
        Methods.
    extra : dict
        As of `write_report`.
    plot : Path, optional
        PNG of MSSIM against the angular range.
    """
    text = html.escape
    command = extra.get("command")
    viewer = viewer_data(results, rows, order)
    sections = document.sections(rows)
    parts = {
        "title": text(document.title(extra)),
        "command": f"<pre><code>{text(command)}</code></pre>" if command else "",
        "summary": text(document.summary_line(rows)),
        "filters": _filters(rows),
        "first_table": _section_tables(rows, order, sections[:1]),
        "viewer_hidden": "" if viewer["cases"] else "hidden",
        "plot": "" if plot is None else _plot(plot),
        "tables": _scan_section(rows, order) + _section_tables(rows, order, sections[1:]),
        "methods": _methods(rows, order, extra),
        "data": re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(viewer, separators=(",", ":"))),
    }
    template = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    # In one pass: what is put in is not searched again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _filters(rows: Sequence[Row]) -> str:
    """A choice for object and noise, the parts of a case that make a table long, where there are several."""
    summaries = summarize(rows)
    choices = []
    for part, head in (("object", "Object"), ("noise", "Noise")):
        shown = (s for s in summaries if part == "object" or s["protocol"] != "measured")
        names = [html.escape(name) for name in dict.fromkeys(case_parts(s)[part] for s in shown)]
        if len(names) > 1:
            options = "".join(f'<option value="{name}">{name}</option>' for name in names)
            choices.append(
                f'<label>{head} <select data-filter="{part}"><option value="">all</option>{options}</select></label>'
            )
    return f'<div class="filters">{"".join(choices)}</div>' if choices else ""


def _table(caption: str, header: Sequence[str], lines: Sequence[_Line]) -> str:
    """A table whose columns can be sorted."""
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{html.escape(head)}</button></th>' for head in header
    )
    body = []
    for attributes, line in lines:
        data = "".join(f' data-{name}="{html.escape(value)}"' for name, value in attributes.items())
        texts = "".join(f'<td data-sort="{html.escape(str(key))}">{content}</td>' for content, key in line)
        body.append(f"<tr{data}>{texts}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"<table><thead><tr>{heads}</tr></thead>"
        f'<tbody>{"".join(body)}</tbody></table></div><p class="nothing" hidden>No case with this choice.</p>'
    )


def _cell(cell: TableCell | None) -> tuple[str, object]:
    """A cell as HTML, and its sort key."""
    if cell is None:
        return "", ""
    kind = "failed" if cell.text == "failed" else "value"
    value = f"<b>{cell.text}</b>" if cell.best else f'<span class="{kind}">{cell.text}</span>'
    small = (f"± {cell.std}" if cell.std else "") + (f" ({cell.std_seeds})" if cell.std_seeds else "")
    if small:
        value += f"<small>{small.strip()}</small>"
    if cell.note:
        value += f'<small class="failed">{html.escape(cell.note)}</small>'
    return value, "" if cell.number is None else cell.number


def _section_tables(rows: Sequence[Row], order: Sequence[str], sections: Sequence[document.Section]) -> str:
    """Tables of simulated cases, a row for each case."""
    summaries = summarize([row for row in rows if row["protocol"] != "measured"])
    labels = {s["method"]: s["label"] for s in summaries}
    oracles = {s["method"] for s in summaries if s["oracle"]}
    methods = [method for method in order if method in labels]
    cases = {s["case"]: s for s in summaries}
    different = list(dict.fromkeys([*varying(cases.values()), "angular range"]))
    same = [part for part in CASE_PARTS if part not in different]
    header = [*different, *(labels[method] + (" †" if method in oracles else "") for method in methods)]
    parts = []
    for heading, value, remark in sections:
        cells = table_cells(summaries, value, document.DIGITS[value])
        lines: list[_Line] = []
        for case, s in cases.items():
            attributes, case_cells = _case_cells(s, different)
            lines.append((attributes, case_cells + [_cell(cells.get((case, method))) for method in methods]))
        constant = f" In all cases: {html.escape(case_name(next(iter(cases.values())), same))}." if same else ""
        wide = f'<table class="wide" style="--fixed:{len(different)}">'
        table = _table(heading, header, lines).replace("<table>", wide)
        legend = f'<p class="legend">{html.escape(document.LEGEND)}</p>' if value == "mssim" else ""
        parts.append(
            f"<section><h2>{html.escape(heading)}</h2><p>{html.escape(remark)}{constant}</p>{table}{legend}</section>"
        )
    return "".join(parts)


def _case_cells(summary: dict[str, Any], different: Sequence[str]) -> _Line:
    """The parts of a case that differ, with their sort keys."""
    parts = case_parts(summary)
    keys = parts | {
        "size": summary["size"],
        "noise": -math.inf if summary["photons"] is None else -summary["photons"],
        "angular range": summary["degrees"],
    }
    attributes = {"object": parts["object"], "noise": parts["noise"]}
    return attributes, [(html.escape(parts[part]), keys[part]) for part in different]


def _scan_section(rows: Sequence[Row], order: Sequence[str]) -> str:
    scans = document.scan_table(rows, order)
    if scans is None:
        return ""
    lines: list[_Line] = []
    for s, texts in scans.lines:
        keys = [s["object"], s["size"], s["degrees"], s["label"], s["slices"]]
        keys += [text if text not in ("–", "failed") else "" for text in texts[len(keys) :]]
        cells = [f'<span class="failed">{text}</span>' if text == "failed" else html.escape(text) for text in texts]
        lines.append(({"object": s["object"]}, list(zip(cells, keys, strict=True))))
    table = _table("Measured scans", scans.header, lines)
    return f'<section><h2>Measured scans</h2>{table}<p class="legend">{html.escape(document.SCAN_LEGEND)}</p></section>'


def _plot(path: Path) -> str:
    source = base64.b64encode(path.read_bytes()).decode()
    return (
        "<section><h2>MSSIM against the angular range</h2><p>Bars: one standard deviation over slices.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="plot"><img class="plot" '
        'alt="MSSIM of each method against the angular range; the numbers are in the table" '
        f'src="data:image/png;base64,{source}"></div></section>'
    )


def _methods(rows: Sequence[Row], order: Sequence[str], extra: Mapping[str, Any]) -> str:
    """Notes on methods, versions, and what was unavailable or failed."""
    text, items = html.escape, []
    for note in document.method_notes(rows, order, extra):
        about = f"<p>{text(note.description)}</p>" if note.description else ""
        about += "<p>† oracle: a parameter was chosen by the truth.</p>" if note.oracle else ""
        about += "".join(f"<p>{text(parameters)}</p>" for parameters in note.parameters)
        about += f"<p>On {text(', '.join(note.devices))}.</p>" if note.devices else ""
        items.append(f"<dt>{text(note.label)} <code>{text(note.method)}</code></dt><dd>{about}</dd>")
    parts = [f"<section><h2>Methods</h2><dl>{''.join(items)}</dl>"]
    if document.machines(rows):
        parts.append(f"<p>Versions: {text(document.machines(rows))}.</p>")
    parts.append("</section>")
    unavailable = extra.get("unavailable") or {}
    if unavailable:
        reasons = "".join(
            f"<dt>{text(name)}</dt><dd><p>{text(str(reason))}</p></dd>" for name, reason in unavailable.items()
        )
        parts.append(f"<section><h2>Unavailable methods</h2><dl>{reasons}</dl></section>")
    failed = document.failures(rows)
    if failed:
        errors = "".join(f"<dt>{text(where)}</dt><dd><pre>{text(str(error))}</pre></dd>" for where, error in failed)
        parts.append(f'<section id="failures"><h2>Failed</h2><dl>{errors}</dl></section>')
    return "".join(parts)
