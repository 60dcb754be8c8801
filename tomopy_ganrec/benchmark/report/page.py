"""The report as one HTML file that needs nothing else: tables to sort, the plot, and images to swipe between."""

import base64
import html
import io
import json
import math
import re
from importlib import resources

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tomopy_ganrec import metrics

from . import document, tables
from .figures import gray_window

__all__ = ["page"]

LARGEST = 512  # pixels a side of an embedded image; larger ones are reduced by area means
_MAP_COLORS = 32  # of SSIM maps: few, so that they are small


def page(results, rows, order, extra, plot=None) -> str:
    """The page.

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
    viewer = _viewer(results, rows, order)
    parts = {
        "title": text(document.title(extra)),
        "command": f"<pre><code>{text(command)}</code></pre>" if command else "",
        "summary": text(document.summary_line(rows)),
        "filters": _filters(rows),
        "first_table": _section_tables(rows, order, document.sections(rows)[:1]),
        "viewer_hidden": "" if viewer["cases"] else "hidden",
        "plot": "" if plot is None else _plot(plot),
        "tables": _scan_section(rows, order) + _section_tables(rows, order, document.sections(rows)[1:]),
        "methods": _methods(rows, order, extra),
        "data": re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(viewer, separators=(",", ":"))),
    }
    template = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    return re.sub(
        r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template
    )  # once: what is put in is not looked at again


def _filters(rows) -> str:
    """A choice for each part of a case of which there are several, of those that make a table long."""
    found = []
    for part, head in (("object", "Object"), ("noise", "Noise")):
        names = list(
            dict.fromkeys(
                tables.case_parts(s)[part]
                for s in tables.summarize(rows)
                if part == "object" or s["protocol"] != "measured"
            )
        )
        if len(names) > 1:
            options = "".join(f'<option value="{html.escape(name)}">{html.escape(name)}</option>' for name in names)
            found.append(
                f'<label>{head} <select data-filter="{part}"><option value="">all</option>{options}</select></label>'
            )
    return f'<div class="filters">{"".join(found)}</div>' if found else ""


def _table(caption, header, lines) -> str:
    """A table whose columns can be sorted; a line is (attributes, [(html, sort key), …])."""
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{html.escape(head)}</button></th>' for head in header
    )
    body = []
    for attributes, line in lines:
        data = "".join(f' data-{name}="{html.escape(value)}"' for name, value in attributes.items())
        texts = "".join(f'<td data-sort="{html.escape(str(key))}">{content}</td>' for content, key in line)
        body.append(f"<tr{data}>{texts}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table></div><p class="nothing" hidden>No case with this choice.</p>'
    )


def _cell(cell) -> tuple[str, object]:
    if cell is None:
        return "", ""
    value = (
        f"<b>{cell.text}</b>"
        if cell.best
        else f'<span class="{"failed" if cell.text == "failed" else "value"}">{cell.text}</span>'
    )
    small = (f"± {cell.std}" if cell.std else "") + (f" ({cell.std_seeds})" if cell.std_seeds else "")
    notes = [
        f"<small>{small.strip()}</small>" if small else "",
        f'<small class="failed">{html.escape(cell.note)}</small>' if cell.note else "",
    ]
    return value + "".join(notes), "" if cell.number is None else cell.number


def _section_tables(rows, order, sections) -> str:
    simulated = [row for row in rows if row["protocol"] != "measured"]
    summaries = tables.summarize(simulated)
    labels = {s["method"]: s["label"] for s in summaries}
    oracle = {s["method"] for s in summaries if s["oracle"]}
    methods = [method for method in order if method in labels]
    cases = {s["case"]: s for s in summaries}
    different = dict.fromkeys([*tables.varying(cases.values()), "wedge"])
    same = [part for part in ("object", "protocol", "size", "noise", "wedge") if part not in different]
    found = []
    for heading, value, remark in sections:
        cells = tables.cells(summaries, value, document.DIGITS[value])
        lines = []
        for case, s in cases.items():
            parts = tables.case_parts(s)
            keys = parts | {
                "size": s["size"],
                "noise": -math.inf if s["photons"] is None else -s["photons"],
                "wedge": s["degrees"],
            }
            line = [(html.escape(parts[part]), keys[part]) for part in different]
            lines.append(
                (
                    {"object": parts["object"], "noise": parts["noise"]},
                    line + [_cell(cells.get((case, method))) for method in methods],
                )
            )
        constant = f" In all cases: {html.escape(tables.case_name(next(iter(cases.values())), same))}." if same else ""
        header = [*different, *(labels[method] + (" †" if method in oracle else "") for method in methods)]
        table = _table(heading, header, lines).replace(
            "<table>", f'<table class="wide" style="--fixed:{len(different)}">'
        )
        legend = f'<p class="legend">{html.escape(document.LEGEND)}</p>' if value == "mssim" else ""
        found.append(
            f"<section><h2>{html.escape(heading)}</h2><p>{html.escape(remark)}{constant}</p>{table}{legend}</section>"
        )
    return "".join(found)


def _scan_section(rows, order) -> str:
    scans = document.scan_table(rows, order)
    if scans is None:
        return ""
    lines = []
    for s, texts in scans.lines:
        keys = [s["object"], s["size"], s["degrees"], s["label"], s["slices"]]
        keys += [text if text not in ("–", "failed") else "" for text in texts[len(keys) :]]
        cells = [f'<span class="failed">{text}</span>' if text == "failed" else html.escape(text) for text in texts]
        lines.append(({"object": s["object"]}, list(zip(cells, keys, strict=True))))
    table = _table("Measured scans", scans.header, lines)
    return f'<section><h2>Measured scans</h2>{table}<p class="legend">{html.escape(document.SCAN_LEGEND)}</p></section>'


def _plot(path) -> str:
    source = base64.b64encode(path.read_bytes()).decode()
    return (
        "<section><h2>MSSIM against the angular range</h2><p>Bars: one standard deviation over slices.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="plot"><img class="plot" '
        f'alt="MSSIM of each method against the angular range; the numbers are in the table" src="data:image/png;base64,{source}"></div></section>'
    )


def _methods(rows, order, extra) -> str:
    text, found = html.escape, []
    for note in document.method_notes(rows, order, extra):
        about = f"<p>{text(note.description)}</p>" if note.description else ""
        about += "<p>† oracle: a parameter was chosen by the truth.</p>" if note.oracle else ""
        about += "".join(f"<p>{text(parameters)}</p>" for parameters in note.parameters)
        about += f"<p>On {text(', '.join(note.devices))}.</p>" if note.devices else ""
        found.append(f"<dt>{text(note.label)} <code>{text(note.method)}</code></dt><dd>{about}</dd>")
    parts = [f"<section><h2>Methods</h2><dl>{''.join(found)}</dl>"]
    if document.machines(rows):
        parts.append(f"<p>Versions: {text(document.machines(rows))}.</p>")
    parts.append("</section>")
    unavailable = extra.get("unavailable") or {}
    if unavailable:
        items = "".join(
            f"<dt>{text(name)}</dt><dd><p>{text(str(reason))}</p></dd>" for name, reason in unavailable.items()
        )
        parts.append(f"<section><h2>Unavailable methods</h2><dl>{items}</dl></section>")
    failed = document.failures(rows)
    if failed:
        items = "".join(f"<dt>{text(where)}</dt><dd><pre>{text(str(error))}</pre></dd>" for where, error in failed)
        parts.append(f'<section id="failures"><h2>Failed</h2><dl>{items}</dl></section>')
    return "".join(parts)


class _Pictures(dict):
    """PNG files in base64 by name, each once however often it is used."""

    def add(self, image, **options) -> str:
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=9, **options)
        source = base64.b64encode(file.getvalue()).decode()
        return self.setdefault(source, f"p{len(self)}")


def _small(image) -> np.ndarray:
    picture = Image.fromarray(np.nan_to_num(np.asarray(image, np.float32)))
    scale = LARGEST / max(picture.size)
    if scale < 1:
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BOX)
    return np.asarray(picture)


def _gray(image, low, high):
    return Image.fromarray((np.clip((_small(image) - low) / (high - low), 0, 1) * 255).round().astype(np.uint8))


def _map(truth, image):
    levels = (np.clip(_small(metrics.ssim_map(truth, image)), 0, 1) * (_MAP_COLORS - 1)).round().astype(np.uint8)
    picture = Image.fromarray(levels).convert("P")
    picture.putpalette(
        (colormaps["viridis"](np.linspace(0, 1, _MAP_COLORS))[:, :3] * 255).round().astype(np.uint8).tobytes()
    )
    return picture


def _viewer(results, rows, order) -> dict:
    """What the viewer shows: slices with their choices, and the pictures they name."""
    pictures, found = _Pictures(), []
    for kept in tables.kept(rows, order):
        low, high = gray_window(results, kept)
        first, choices = kept.rows[0], []
        references = [row for row in kept.rows if row["reference"] and row["reference"] != row["image"]]
        if references and not kept.measured:
            picture = pictures.add(_gray(results.image(references[0]["reference"]), low, high))
            choices.append({"key": "truth", "label": "truth", "value": "", "picture": picture})
        several = {
            row["method"] for row in kept.rows if sum(other["method"] == row["method"] for other in kept.rows) > 1
        }
        for row in kept.rows:
            label = (
                (row["label"] or row["method"])
                + (" †" if row["oracle"] else "")
                + (f", seed {row['seed']}" if row["method"] in several else "")
            )
            image, key = results.image(row["image"]), f"{row['method']}|{row['seed'] or 0}"
            value = f"MSSIM {'with its full range ' if kept.measured else ''}{tables.format_number(row['mssim'], 'mssim', 4)}"
            choice = {
                "key": key,
                "label": label,
                "value": "" if row["mssim"] is None else value,
                "picture": pictures.add(_gray(image, low, high)),
            }
            if row in references and kept.measured:
                full = pictures.add(_gray(results.image(row["reference"]), low, high))
                choices.append({"key": f"full|{key}", "label": f"{label}, full range", "value": "", "picture": full})
            elif row in references:
                choice["map"] = pictures.add(_map(results.image(row["reference"]), image))
            choices.append(choice)
        # The wedge first: a narrow screen cuts the end off.
        case = tables.case_name(first, ("wedge", "object", "protocol", "size", "noise"))
        name = f"{case}, slice {first['slice']}" + (
            "" if first["object_seed"] is None else f", object {first['object_seed']}"
        )
        rows_, columns = results.image(first["image"]).shape
        found.append({"name": name, "ratio": columns / rows_, "choices": choices, "window": f"{low:.3g} to {high:.3g}"})
    return {"cases": found, "pictures": {name: source for source, name in pictures.items()}}
