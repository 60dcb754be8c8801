"""The report's page: it needs no network, takes texts as texts, and has every image once."""

import numpy as np
import pytest
from report_samples import ATTACK, EXTRA, Reader, fabricate, picture, row

from tomopy_ganrec.benchmark.store import Results

pytest.importorskip("matplotlib")
from tomopy_ganrec.benchmark.report.page import page
from tomopy_ganrec.benchmark.report.write import write_report


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
    columns = row(
        case="a",
        object="</script>",
        angular_range="180",
        degrees=180.0,
        projections=180,
        object_seed=0,
        method="m",
        label="<!--<script>&\u2028",
        mssim=0.5,
    )
    columns["method"] = "ganrec"
    results = fabricate(tmp_path / "run", [columns])
    write_report(results)
    html = Reader((results.folder / "report.html").read_text())
    assert html.tags.count("script") == 2
    assert [choice["label"] for choice in html.viewer["cases"][0]["choices"]] == ["truth", "<!--<script>&\u2028"]


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
    columns = row(
        case="big",
        object="o",
        angular_range="120",
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
    )  # a chequerboard, whose area mean is grey; every other pixel would be black or white
    columns["image"] = columns["reference"] = results.keep_image(columns, "m", truth)
    results.save(columns)
    viewer = Reader(page(results, results.rows(), ["m"], {})).viewer
    _, gray = picture(viewer, viewer["cases"][0]["choices"][0]["picture"])
    assert gray.shape == (512, 512) and np.ptp(gray) == 0 and gray[0, 0] in (127, 128)  # half of 255
