"""The report as a whole: what is written into the folder, also of unfinished, failed and damaged results."""

import json

import numpy as np
import pytest
from report_samples import EXTRA, fabricate, md_cells, scan_rows, simulated_rows

from tomopy_ganrec.benchmark.report.tables import method_table
from tomopy_ganrec.benchmark.rows import COLUMNS
from tomopy_ganrec.benchmark.store import Results

pytest.importorskip("matplotlib")
from tomopy_ganrec.benchmark.report.write import write_report


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
    rows = md_cells(method_table([r for r in results.rows() if r["case"] == "shale-180"], markup="md"))
    assert rows[1][5:] == ["0.700; 1 of 2 slices", "0.915 ± 0.014 (0.007)", "0.510 ± 0.014", "0.950; 1 of 2 slices"]
    write_report(results)


def test_scans_alone_and_failures_alone(tmp_path):
    write_report(fabricate(tmp_path / "scan", scan_rows()), EXTRA)
    assert "## RMSE" not in (tmp_path / "scan" / "table.md").read_text()
    write_report(fabricate(tmp_path / "failed", [r for r in simulated_rows() if r["status"] == "failed"]), EXTRA)
    assert "| failed |" in (tmp_path / "failed" / "table.md").read_text()


def test_nothing_to_report(tmp_path):
    with pytest.raises(ValueError, match="no finished reconstruction"):
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
