"""The report of a results folder, against numbers taken by hand and by reading back what was written."""

import base64
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tomopy_ganrec.benchmark.report import tables
from tomopy_ganrec.benchmark.store import COLUMNS, Results

pytest.importorskip("matplotlib")
from tomopy_ganrec.benchmark.report import figures
from tomopy_ganrec.benchmark.report.write import write_report

ATTACK = 'ValueError: </script><script>bad()</script><img src=x onerror="bad()"> & "quoted", `ticked` {{title}}\n  second line'
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


def row(**known):
    texts = dict.fromkeys(("error", "image", "reference"), "") | {
        "device": "cpu",
        "versions": "numpy 2",
        "parameters": "num_iter=1",
        "status": "ok",
    }
    return (
        dict.fromkeys(COLUMNS)
        | {"setup": "test"}
        | texts
        | {"oracle": False, "size": 32, "protocol": "pixel", "slice": 0}
        | known
    )


def image(value):
    """A constant slice with a bright first line, so that the truth spans 0 to 1."""
    found = np.full((32, 32), value, np.float32)
    found[0] = 1
    return found


def simulated_rows():
    """Two objects × three wedges × four methods × two slices, two seeds of ganrec; one cell failed, one method all failed, one all NaN."""
    for name, photons in (("shale", None), ("foam", 1e5)):
        for wedge, loss in LOSS.items():
            for k in (0, 1):
                for method, base in MSSIM.items():
                    for seed in (0, 1) if method == "ganrec" else (None,):
                        degrees = float(wedge.split("/")[-1])
                        value = base - loss + 0.02 * k + 0.01 * (seed or 0)
                        case = dict(
                            case=f"{name}-{wedge.replace('/', 'over')}",
                            object=name,
                            wedge=wedge,
                            degrees=degrees,
                            projections=51,
                        )
                        known = dict(
                            photons=photons,
                            slice=k,
                            object_seed=3,
                            method=method,
                            label=LABELS[method],
                            seed=seed,
                            oracle=method == "tv",
                        )
                        judged = dict(
                            mssim=value,
                            mssim_7x7=value - 0.01,
                            rmse=1 - value,
                            residual=0.01,
                            seconds=SECONDS[method] + k,
                        )
                        one = row(**case, **known, **judged)
                        if method == "gridrec" and (
                            (name, wedge, k) == ("shale", "120", 1) or (name, wedge) == ("foam", "180")
                        ):
                            one |= dict(
                                status="failed",
                                error=ATTACK,
                                mssim=None,
                                mssim_7x7=None,
                                rmse=None,
                                residual=None,
                                seconds=None,
                            )
                        if method == "gridrec" and (name, wedge) == ("foam", "51/70"):
                            one |= dict(mssim=math.nan, rmse=math.inf)
                        yield one


def scan_rows():
    for wedge in ("full", "0:120"):
        for method in ("gridrec", "ganrec"):
            known = dict(
                case=f"tooth-{wedge.replace(':', 'to')}",
                object="tooth",
                protocol="measured",
                wedge=wedge,
                projections=120,
                slice=7,
            )
            known |= dict(
                degrees=180.0 if wedge == "full" else 120.0,
                method=method,
                label=LABELS[method],
                seed=0 if method == "ganrec" else None,
            )
            judged = dict(residual_heldout=0.0876, distance=0.25) if wedge != "full" else {}
            yield row(**known, residual=0.0123, seconds=12.34, **judged)


def fabricate(folder, rows=None, images=None):
    """A results folder; slice 0 of each case, or of those in `images`, keeps its images: constant grey, darker by 0.1 for foam."""
    results = Results(folder)
    for one in [*simulated_rows(), *scan_rows()] if rows is None else rows:
        darker = 0.1 if one["object"] == "foam" else 0.0
        if images is not None and one["case"] not in images:
            pass
        elif one["status"] == "ok" and one["slice"] == 0:
            one["image"] = results.keep_image(
                one, f"{one['method']}-{one['seed']}", image(GRAY[one["method"]] - darker)
            )
            one["reference"] = results.keep_image(one, "truth", image(GRAY["truth"]))
        elif one["protocol"] == "measured":
            full = np.random.default_rng(len(one["method"])).random((32, 32))
            one["image"] = results.keep_image(one, one["method"], full if one["wedge"] == "full" else full / 2)
            if one["wedge"] != "full":
                one["reference"] = results.keep_image(one | {"case": "tooth-full"}, one["method"], full)
        results.save(one)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def written(results):
    return {path.name: path for path in write_report(results, EXTRA)}


def summary(rows, case, method):
    return next(s for s in tables.summarize(rows) if (s["case"], s["method"]) == (case, method))


def test_summary_by_hand(results):
    s = summary(results.rows(), "shale-180", "ganrec")
    # slices are 0.90, 0.91 and 0.92, 0.93 by seed: means 0.905 and 0.925. Tolerance: rounding of sums of a few numbers near 1.
    assert s["mssim"] == pytest.approx(0.915, abs=1e-12)
    assert s["mssim_std"] == pytest.approx(0.02 / math.sqrt(2), abs=1e-12)  # of two numbers, n − 1
    assert s["mssim_std_seeds"] == pytest.approx(0.01 / math.sqrt(2), abs=1e-12)
    assert (s["mssim_n"], s["slices"], s["seeds"], s["cells"], s["failed"]) == (2, 2, 2, 4, 0)
    assert s["seconds"] == pytest.approx(8.5) and s["time"] == pytest.approx((8 + 9) / (2 + 3))
    assert summary(results.rows(), "shale-180", "astra-mlem")["time"] == 1
    assert summary(results.rows(), "shale-180", "tv")["mssim_std_seeds"] is None


def test_summary_leaves_out_what_failed_and_says_so(results):
    s = summary(results.rows(), "shale-120", "gridrec")
    assert (s["failed"], s["mssim_n"], s["slices"], s["mssim_std"]) == (1, 1, 2, None)
    assert s["mssim"] == pytest.approx(0.4, abs=1e-12)  # slice 0 alone
    assert s["time"] == pytest.approx(0.1 / 2.0)  # and so is the peer's time
    assert summary(results.rows(), "foam-51over70", "gridrec")["mssim"] is None


def test_cases_come_in_the_order_of_a_reader(results):
    cases = list(dict.fromkeys(s["case"] for s in tables.summarize(results.rows())))
    assert cases == [f"{name}-{wedge}" for name in ("foam", "shale") for wedge in ("180", "120", "51over70")] + [
        "tooth-full",
        "tooth-0to120",
    ]


def test_best_is_complete_knows_no_truth_and_may_be_shared(results):
    rows = [one for one in results.rows() if one["case"] == "shale-120"]
    best = {key[1] for key, cell in tables.cells(tables.summarize(rows)).items() if cell.best}
    assert best == {"ganrec"}  # tv has more, but is an oracle
    for one in rows:
        if one["method"] == "gridrec" and one["status"] == "ok":
            one["mssim"] = 0.999  # the best on the one slice it has
        if one["method"] == "astra-mlem":
            one["mssim"] = (
                0.81504 + 0.02 * one["slice"] - 0.01
            )  # 0.81504 and ganrec's 0.815 look the same with three decimals
    best = {key[1] for key, cell in tables.cells(tables.summarize(rows), digits=3).items() if cell.best}
    assert best == {"ganrec", "astra-mlem"}
    best = {key[1] for key, cell in tables.cells(tables.summarize(rows), digits=5).items() if cell.best}
    assert best == {"astra-mlem"}
    lowest = {key[1] for key, cell in tables.cells(tables.summarize(rows), "rmse").items() if cell.best}
    assert lowest == {"ganrec"}


@pytest.mark.parametrize(
    "number, value, digits, text",
    [
        (0.91449, "mssim", 3, "0.914"),
        (0.4996, "time", 2, "0.50"),
        (0.0996, "time", 2, "0.10"),
        (9.96, "seconds", 2, "10"),
        (12.34, "seconds", 3, "12.3"),
        (1234.5, "seconds", 3, "1230"),
        (0.0, "residual", 3, "0.00"),
        (math.nan, "mssim", 3, "–"),
        (-math.inf, "rmse", 3, "–"),
        (None, "rmse", 3, "–"),
    ],
)
def test_numbers_for_reading(number, value, digits, text):
    assert tables.format_number(number, value, digits) == text


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


def test_method_table_in_markdown(results):
    text = tables.method_table(
        [r for r in results.rows() if r["protocol"] == "pixel"], list(EXTRA["descriptions"]), format="md"
    )
    rows = md_cells(text)
    assert rows[0] == ["object", "protocol", "size", "noise", "wedge", "gridrec", "MLEM, 200", "GANrec", "TV_best|* †"]
    assert rows[4][:5] == ["shale", "pixel", "32²", "noise-free", "180°"]
    assert rows[4][5:] == ["0.510 ± 0.014", "0.710 ± 0.014", "0.915 ± 0.014 (0.007)", "0.960 ± 0.014"]
    assert rows[5][5] == "0.400; 1 failed"
    assert rows[1][3:6] == ["1e5 photons", "180°", "failed"]
    assert rows[3][4:6] == ["51 over 70°", "–"]
    assert "**0.915** ± 0.014" in text and "**0.960**" not in text


@pytest.mark.parametrize("by", ["case", "method"])
def test_method_table_in_rest_says_the_same(results, by):
    rows = [r for r in results.rows() if r["protocol"] == "pixel"]
    rest = rst_cells(rst_tree(tables.method_table(rows, format="rst", by=by)))
    assert rest == md_cells(tables.method_table(rows, format="md", by=by))
    if by == "method":
        assert rest[0][:2] == ["method", "foam, 1e5 photons, 180°"]
        assert [line[0] for line in rest[1:]] == [
            "MLEM, 200",
            "GANrec",
            "gridrec",
            "TV_best|* †",
        ]  # by the alphabet of their names


def test_method_table_of_some_methods_keeps_the_peer_for_time(results):
    rows = md_cells(tables.method_table(results.rows(), ["ganrec", "absent"], "time", "md", 2))
    assert rows[0][5:] == ["GANrec"] and rows[1][5] == "3.4"


@pytest.mark.parametrize("wrong", [{"value": "psnr"}, {"format": "html"}, {"by": "slice"}])
def test_method_table_names_what_it_knows(results, wrong):
    with pytest.raises(ValueError, match="is not known; choose"):
        tables.method_table(results.rows(), **wrong)


def test_documents_are_whole_and_parse(written):
    tree = rst_tree(written["table.rst"].read_text())
    said = " ".join(tree.astext().split())
    markdown = written["table.md"].read_text()
    for text in (
        "MSSIM",
        "RMSE",
        "MSSIM, 7 × 7 window",
        "Time per slice relative to MLEM, 200",
        "Measured scans",
        "Unavailable methods",
        "Failed",
    ):
        assert text in said and f"\n## {text}" in markdown
    for text in (
        "tomopy-tv: no module named <tomopy>",
        "the peer | of *all*",
        "num_iter=1",
        "oracle: a parameter was chosen by the truth",
    ):
        assert text in said
    assert " ".join(ATTACK.split()) in said and " ".join(ATTACK.split()) in markdown
    assert "| tooth | 32² | 0–120° | GANrec | 1 | 0.0123 | 0.0876 | 0.250 | 12 |" in markdown


def same(rows):
    return [json.dumps(row, sort_keys=True) for row in rows]  # NaN is not equal to itself, its text is


def test_csv_comes_back_as_it_was(results, written):
    rows = tables.read_csv(written["results.csv"])
    assert same(rows) == same(results.rows())
    assert tables.method_table(rows) == tables.method_table(results.rows())
    one = next(r for r in rows if r["method"] == "ganrec" and r["object"] == "foam")
    types = dict(size=int, seed=int, degrees=float, photons=float, oracle=bool, wedge=str, mssim=float, error=str)
    assert {name: type(one[name]) for name in types} == types
    assert one["residual_heldout"] is None and one["error"] == ""


def test_csv_that_is_none_is_refused(written, tmp_path):
    text = written["results.csv"].read_bytes()
    table = tmp_path / "table.csv"
    for content, says in (
        (b"a,b\n1,2\n", "not a table of results"),
        (text[:-60], "too few"),
        (text.replace(b",32,", b",x,", 1), "line 2"),
    ):
        table.write_bytes(content)
        with pytest.raises(ValueError, match=says):
            tables.read_csv(table)


def test_json_is_strict_and_whole(results, written):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(written["results.json"].read_text(), parse_constant=refuse)
    assert (
        content["columns"] == COLUMNS
        and content["unavailable"] == EXTRA["unavailable"]
        and content["command"] == EXTRA["command"]
    )
    assert len(content["rows"]) == len(results.rows())
    assert content["rows"][0]["case"] == results.rows()[0]["case"]


def test_figures_are_drawn_for_each_case_with_images(written):
    cases = [f"{name}-{wedge}" for name in ("foam", "shale") for wedge in ("180", "120", "51over70")]
    expected = {"mssim_vs_angle.png", "slices-tooth-full.png", "slices-tooth-0to120.png"}
    expected |= {f"{kind}-{case}.png" for kind in ("slices", "ssim_maps") for case in cases}
    assert {name for name in written if name.endswith(".png")} == expected
    for name in expected:
        with Image.open(written[name]) as picture:
            colors = picture.convert("RGB").getcolors(1 << 24)
            assert min(picture.size) > 200 and len(colors) > 50, (
                name
            )  # an empty figure has one colour, axes alone a few greys


def test_plot_has_two_plain_wedges_and_their_deviations(results):
    figure = figures.mssim_vs_angle(results.rows(), list(EXTRA["descriptions"]))
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["foam, pixel, 32², 1e5 photons"] * 2 + ["shale, pixel, 32², noise-free"] * 2
    shale, errors = figure.axes[2:4]
    lines = {container.get_label(): container for container in shale.containers}
    assert list(lines) == ["gridrec", "MLEM, 200", "GANrec", "TV_best|* †"]
    x, y = lines["GANrec"][0].get_data()
    assert list(x) == [120, 180]  # 51/70 is another kind of measurement
    np.testing.assert_allclose(y, [0.815, 0.915], atol=1e-12)  # rounding
    (low, high) = lines["GANrec"][2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.02 / math.sqrt(2), abs=1e-12)  # rounding
    assert errors.get_yscale() == "log"
    np.testing.assert_allclose(errors.containers[2][0].get_ydata(), 1 - y, atol=1e-12)  # rounding
    assert figures.mssim_vs_angle([r for r in results.rows() if r["wedge"] != "120"], []) is None


def test_twenty_one_methods_can_be_told_apart():
    names = [f"m{k}" for k in range(21)]
    assert len({(s["color"], s["linestyle"]) for s in figures.styles(names).values()}) == 21
    assert len({s["marker"] for s in figures.styles(names).values()}) == 21


def test_gray_window_is_the_truth_s_or_robust(results):
    for kept in tables.kept(results.rows()):
        low, high = figures.gray_window(results, kept)
        if kept.measured:
            assert 0 < low < 0.02 and 0.98 < high < 1  # quantiles of uniform noise in 0 to 1, from 1024 pixels
        else:
            assert (low, high) == (0, 1)


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


@pytest.fixture(scope="module")
def html(written):
    return Reader(written["report.html"].read_text())


def test_page_needs_no_network(written, html):
    text = written["report.html"].read_text()
    assert "http://" not in text and "https://" not in text and "url(" not in text and "@import" not in text
    assert "link" not in html.tags and "iframe" not in html.tags
    assert all(reference.startswith("data:image/png;base64,") for reference in html.references)


def test_page_takes_texts_as_texts(html):
    assert html.tags.count("script") == 2 and html.handlers == []  # those of the template
    said = "".join(html.text)
    for text in (ATTACK, EXTRA["title"], EXTRA["command"], "no module named <tomopy>", "TV_best|* †"):
        assert text in said


def test_page_data_survives_any_label(tmp_path):
    one = row(
        case="a",
        object="</script>",
        wedge="180",
        degrees=180.0,
        projections=180,
        object_seed=0,
        method="m",
        label="<!--<script>&\u2028",
        mssim=0.5,
    )
    one["method"] = "ganrec"
    results = fabricate(tmp_path / "run", [one])
    write_report(results)
    html = Reader((results.folder / "report.html").read_text())
    assert html.tags.count("script") == 2
    assert [choice["label"] for choice in html.viewer["cases"][0]["choices"]] == ["truth", "<!--<script>&\u2028"]


def picture(viewer, name):
    with Image.open(io.BytesIO(base64.b64decode(viewer["pictures"][name]))) as found:
        return found.mode, np.asarray(found)


def test_page_has_every_kept_image_once(html):
    viewer = html.viewer
    assert (
        len(viewer["cases"]) == 8
        and viewer["cases"][3]["name"] == "180°, shale, pixel, 32², noise-free, slice 0, object 3"
    )
    shale = {choice["label"]: choice for choice in viewer["cases"][3]["choices"]}
    assert list(shale) == ["truth", "gridrec", "MLEM, 200", "GANrec, seed 0", "GANrec, seed 1", "TV_best|* †"]
    assert shale["GANrec, seed 1"]["value"] == "MSSIM 0.9100"
    mode, gray = picture(viewer, shale["MLEM, 200"]["picture"])
    assert mode == "L" and gray.shape == (32, 32) and gray[5, 5] == round(0.4 * 255) and gray[0, 0] == 255
    assert picture(viewer, shale["gridrec"]["map"])[0] == "P" and "map" not in shale["truth"]
    truths = {case["choices"][0]["picture"] for case in viewer["cases"] if case["choices"][0]["key"] == "truth"}
    assert len(truths) == 1  # the same truth in six cases
    assert len(set(viewer["pictures"].values())) == len(viewer["pictures"])
    tooth = [choice["label"] for choice in viewer["cases"][7]["choices"]]
    assert tooth == ["gridrec, full range", "gridrec", "GANrec, full range", "GANrec"]


def test_page_reduces_large_images(tmp_path):
    one = row(
        case="big",
        object="o",
        wedge="120",
        degrees=120.0,
        projections=120,
        object_seed=0,
        slice=1,
        method="m",
        mssim=0.5,
        size=1024,
    )
    results = Results(tmp_path / "run")
    truth = (
        np.indices((1024, 1024)).sum(0) % 2
    )  # a checkerboard, whose area mean is grey; every other pixel would be black or white
    one["image"] = one["reference"] = results.keep_image(one, "m", truth)
    results.save(one)
    from tomopy_ganrec.benchmark.report.page import page

    viewer = Reader(page(results, results.rows(), ["m"], {})).viewer
    _, gray = picture(viewer, viewer["cases"][0]["choices"][0]["picture"])
    assert gray.shape == (512, 512) and np.ptp(gray) == 0 and gray[0, 0] in (127, 128)  # half of 255


def test_interrupted_run_has_a_report(tmp_path):
    rows = [next(r for r in simulated_rows() if r["method"] == "gridrec" and r["slice"] == 1)]
    results = fabricate(tmp_path / "run", rows)
    names = {path.name for path in write_report(results)}
    assert names == {"results.csv", "results.json", "table.md", "table.rst", "report.html"}  # nothing to draw
    assert "Missing-wedge reconstructions compared" in (results.folder / "report.html").read_text()
    results = fabricate(
        tmp_path / "run",
        [r for r in simulated_rows() if r["slice"] == 0 or r["method"] == "ganrec"],
        images=["shale-180"],
    )
    rows = md_cells(tables.method_table([r for r in results.rows() if r["case"] == "shale-180"], format="md"))
    assert rows[1][5:] == ["0.700; 1 of 2 slices", "0.915 ± 0.014 (0.007)", "0.510 ± 0.014", "0.950; 1 of 2 slices"]
    write_report(results)


def test_scans_alone_and_failures_alone(tmp_path):
    write_report(fabricate(tmp_path / "scan", scan_rows()), EXTRA)
    assert "## RMSE" not in (tmp_path / "scan" / "table.md").read_text()
    write_report(fabricate(tmp_path / "failed", [r for r in simulated_rows() if r["status"] == "failed"]), EXTRA)
    assert "| failed |" in (tmp_path / "failed" / "table.md").read_text()


def test_nothing_to_report(tmp_path):
    with pytest.raises(ValueError, match="no finished cell"):
        write_report(Results(tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["cells"]


@pytest.mark.parametrize("shape", ((1, 1), (1, 40), (10, 32), (40, 8)))
def test_images_too_small_to_be_drawn_are_left_out(tmp_path, shape, caplog):
    results = fabricate(tmp_path / "run")
    for path in (results.folder / "images").rglob("*.npy"):
        np.save(path, np.ones(shape, np.float32))
    written = {path.name for path in write_report(results, EXTRA)}
    assert "report.html" in written and not any(name.startswith(("slices", "ssim")) for name in written)
    assert f"its images have {shape[0]}×{shape[1]} pixels" in caplog.text


def test_images_of_different_sizes_are_not_drawn_together(tmp_path, caplog):
    results = fabricate(tmp_path / "run", [*scan_rows()])
    for path in (results.folder / "images" / "tooth-full").rglob("ganrec.npy"):
        np.save(path, np.ones((20, 32), np.float32))
    assert "slices-tooth-full.png" not in {path.name for path in write_report(results, EXTRA)}
    assert "20×32, 32×32 pixels" in caplog.text


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf, 1e300, -1e200))
@pytest.mark.parametrize("every", (True, False))
def test_images_of_failed_methods_are_drawn_without_a_warning(tmp_path, value, every):
    results = fabricate(tmp_path / "run", images={"shale-180", "tooth-full"})
    for path in (results.folder / "images").rglob("*.npy"):
        if every or "ganrec" in path.name:
            np.save(path, np.full((32, 32), value))
    assert "slices-shale-180.png" in {path.name for path in write_report(results, EXTRA)}


@pytest.mark.parametrize("name", ("title", "command"))
def test_halves_of_surrogate_pairs_are_written_as_question_marks(tmp_path, name):
    results = fabricate(tmp_path / "run", [next(iter(simulated_rows()))])
    write_report(results, EXTRA | {name: "a\ud800b"})
    assert all("a?b" in (results.folder / file).read_text() for file in ("report.html", "table.md"))
