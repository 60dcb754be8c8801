"""``tomopy-ganrec benchmark``, as a user types it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("astra")
pytest.importorskip("matplotlib")
from tomopy_ganrec.benchmark import cli
from tomopy_ganrec.benchmark.rows import PHRASES_OF_0_1
from tomopy_ganrec.cli import main

SMALL = "--size 32 --ranges 90,60 --methods fbp,mlem,tv,ganrec --quiet"
TIMES = ("seconds", "device", "versions")


def table(folder):
    with open(folder / "results.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def benchmark(words, out):
    return main(["benchmark", *words.split(), "--out", str(out)])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    assert benchmark(SMALL, out) == 0
    return out


def test_what_it_writes(uninterrupted, capsys):
    names = {path.name for path in uninterrupted.iterdir()}
    expected = {
        "results.csv",
        "results.json",
        "table.md",
        "table.rst",
        "report.html",
        "mssim_vs_angle.png",
        "cells",
        "images",
        "run.json",
    }
    assert expected | {"slices-shale-32-subpixel-90-clean.png", "ssim_maps-shale-32-subpixel-60-clean.png"} <= names
    rows = table(uninterrupted)
    assert len(rows) == 8 and {row["status"] for row in rows} == {"ok"}
    score = {m: np.mean([float(row["mssim"]) for row in rows if row["method"] == m]) for m in ("fbp", "tv", "ganrec")}
    assert score["fbp"] < score["tv"]
    assert json.loads((uninterrupted / "results.json").read_text())["command"].startswith(
        "tomopy-ganrec benchmark --size 32"
    )


def test_it_says_what_it_costs_and_what_it_found(uninterrupted, capsys):
    assert benchmark(SMALL, uninterrupted) == 0
    said = capsys.readouterr().out
    assert "8 reconstructions, 8 finished before; 0 to do" in said and "| TV |" in said and "report.html" in said
    assert benchmark(SMALL + " --slices 128 --ranges 180,120 --dry-run", uninterrupted) == 0
    said = capsys.readouterr().out
    assert "1024 reconstructions" in said and "estimated time" in said
    assert len(table(uninterrupted)) == 8


def started(words, out):
    run = [sys.executable, "-m", "tomopy_ganrec.cli", "benchmark", *words.split(), "--out", str(out)]
    # A shell's background jobs ignore the interrupt, and so would their children: this one is to have it.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from tomopy_ganrec.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *run[3:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def wait_for_rows(process, out, count):
    until = time.monotonic() + 120
    while sum(1 for _ in out.glob("cells/*/*/*.json")) < count:
        assert time.monotonic() < until and process.poll() is None, "the run ended, or never began"
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_continued_gives_the_same_table(uninterrupted, tmp_path, how, capsys):
    process = started(SMALL, tmp_path / "out")
    wait_for_rows(process, tmp_path / "out", 3)  # the third is TV
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("cells/*/*/*.json")}
    assert 3 <= len(finished) < 8
    if how == signal.SIGINT:  # it still says what it has
        assert process.returncode == 130 and "interrupted" in said and "| TV |" in said
        assert len(table(tmp_path / "out")) == len(finished)
    assert benchmark(SMALL, tmp_path / "out") == 0
    assert f"{len(finished)} finished before" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())  # not computed again
    mine, whole = table(tmp_path / "out"), table(uninterrupted)
    assert mine == whole  # every digit of every metric


def test_a_later_run_adds_to_the_table(tmp_path):
    assert benchmark("--size 32 --ranges 60 --methods fbp --quiet", tmp_path) == 0
    assert benchmark("--size 32 --ranges 60 --methods mlem --photons 1e4 --quiet", tmp_path) == 0
    assert {(row["method"], row["photons"]) for row in table(tmp_path)} == {("fbp", ""), ("mlem", "10000.0")}


def test_the_old_name_of_the_ranges_is_still_taken(tmp_path, capsys):
    assert benchmark("--size 32 --wedges 60 --methods fbp --quiet", tmp_path) == 0
    assert [row["angular_range"] for row in table(tmp_path)] == ["60"]
    with pytest.raises(SystemExit):
        main(["benchmark", "--help"])
    said = capsys.readouterr().out
    assert "--ranges" in said and "--wedges" not in said


def as_of_0_1(folder):
    """Write the rows of a folder as version 0.1.0 did."""
    for path in folder.glob("cells/*/*/*.json"):
        row = {
            "wedge" if name == "angular_range" else name: value for name, value in json.loads(path.read_text()).items()
        }
        for before, now in PHRASES_OF_0_1.items():
            row["parameters"] = row["parameters"].replace(now, before)
        path.write_text(json.dumps(row))


def test_rows_of_an_old_folder_count_as_done(tmp_path, capsys):
    words = "--size 32 --ranges 60 --methods fbp,ganrec-start --quiet"
    assert benchmark(words, tmp_path) == 0
    expected = table(tmp_path)
    as_of_0_1(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*/*/*.json")}
    assert '"wedge": "60"' in next(iter(stamps)).read_text()
    capsys.readouterr()
    assert benchmark(words, tmp_path) == 0
    assert "2 reconstructions, 2 finished before; 0 to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # not run again
    assert table(tmp_path) == expected and {row["angular_range"] for row in expected} == {"60"}


def test_settings_that_change_the_data_need_another_folder(tmp_path, capsys):
    assert benchmark("--size 32 --ranges 60 --methods fbp --quiet", tmp_path) == 0
    for words in ("--slices 2", "--oversample 2"):
        assert benchmark(f"--size 32 --ranges 60 --methods fbp --quiet {words}", tmp_path) == 1
        assert "give another folder" in capsys.readouterr().err


def test_images_asked_for_later(tmp_path):
    assert benchmark("--size 32 --ranges 60 --methods fbp --quiet --images none", tmp_path) == 0
    assert table(tmp_path)[0]["image"] == "" and not list(tmp_path.glob("slices-*.png"))
    assert benchmark("--size 32 --ranges 60 --methods fbp --quiet", tmp_path) == 0
    assert table(tmp_path)[0]["image"] and list(tmp_path.glob("slices-*.png"))


def test_interrupted_before_the_first_reconstruction(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    assert benchmark("--size 32 --ranges 60 --methods fbp", tmp_path) == 130
    assert "goes on from here" in capsys.readouterr().out


def test_a_dry_run_leaves_nothing(tmp_path):
    assert benchmark("--size 32 --ranges 60 --methods fbp --dry-run", tmp_path / "out") == 0
    assert not (tmp_path / "out").exists()


def test_what_became_available_is_no_longer_reported_missing(tmp_path, monkeypatch):
    from tomopy_ganrec.benchmark import peers

    monkeypatch.setattr(peers, "missing", lambda package: "TomoPy is not installed" if package == "tomopy" else None)
    assert benchmark("--size 32 --ranges 60 --methods fbp,pml_hybrid --quiet", tmp_path) == 0
    assert "TomoPy is not installed" in (tmp_path / "table.md").read_text()
    monkeypatch.setattr(peers, "missing", lambda package: None)
    assert benchmark("--report", tmp_path) == 0
    assert "TomoPy is not installed" not in (tmp_path / "table.md").read_text()


def test_only_the_report(tmp_path, capsys):
    assert benchmark("--size 32 --ranges 60 --methods fbp --quiet --title Rocks", tmp_path) == 0
    (tmp_path / "report.html").unlink()
    (tmp_path / "results.csv").unlink()
    assert benchmark("--report", tmp_path) == 0
    assert "Rocks" in (tmp_path / "report.html").read_text() and len(table(tmp_path)) == 1
    capsys.readouterr()
    assert benchmark("--report", tmp_path / "nothing") == 1
    assert "holds no results" in capsys.readouterr().err


def test_a_method_that_fails_makes_the_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tomopy_ganrec.benchmark.implementations.fbp", lambda *a: 1 / 0)
    assert benchmark("--size 32 --ranges 60 --methods fbp,mlem --quiet", tmp_path) == 1
    assert "1 of the reconstructions failed" in capsys.readouterr().out
    assert {row["method"]: row["status"] for row in table(tmp_path)} == {"fbp": "failed", "mlem": "ok"}
    assert "ZeroDivisionError" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        ("--methods gandrec", "choose from fbp"),
        ("--objects shael", "did you mean 'shale'"),
        ("--ranges 400", "the paper's are 180, 170"),
        ("--ranges ,", "empty list"),
        ("--photons many", "none,1e5,1e4"),
        ("--photons=-5", "above 0"),
        ("--slices 0", "at least 1"),
        ("--slices 2000000000", "at most 10000"),
        ("--photons inf", "at most 1e15"),
        ("--methods astra-mlem-best", "nothing to run"),
        ("--device meta", "give 'auto', 'cpu', 'cuda' or 'cuda:1'"),
        ("--slices 0:2", "whole numbers"),
        ("--seeds a", "seeds 'a'"),
        ("--device tpu", "give 'auto', 'cpu', 'cuda' or 'cuda:1'"),
        ("--size 4", "at least 16"),
        ("--angles 0:120", "belong to a scan"),
        ("--reference", "belong to a scan"),
        ("--htc2022 none", "no files htc2022_"),
        ("--htc2022 none --center 3", "--center and --htc2022 exclude"),
        ("--htc2022 none --ranges 120", "--ranges and --htc2022 exclude"),
        ("--methods dip-tv --ranges 150", "--slow-everywhere"),
        ("--projections none.h5", "no file"),
        ("--projections x.h5 --ranges 120", "--ranges and --projections"),
    ],
)
def test_mistakes_end_with_a_message_before_anything_runs(tmp_path, capsys, words, message):
    assert benchmark(words, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_cuda_without_a_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.torch.cuda, "device_count", lambda: 0)
    assert benchmark("--device cuda", tmp_path / "out") == 1
    assert "torch finds 0 CUDA GPUs" in capsys.readouterr().err


def test_a_folder_is_needed_and_must_be_ours(tmp_path, capsys):
    assert main(["benchmark"]) == 1
    assert "--out FOLDER" in capsys.readouterr().err
    (tmp_path / "photo.jpg").touch()
    assert benchmark("--size 32 --methods fbp", tmp_path) == 1
    assert "holds other things" in capsys.readouterr().err and os.listdir(tmp_path) == ["photo.jpg"]


def test_list(capsys):
    assert main(["benchmark", "--list"]) == 0
    said = capsys.readouterr().out
    assert "slow: at 120, 90, 60 degrees" in said
    assert all(name in said for name in ("gridrec-padded", "pml_hybrid", "ganrec-no-discriminator", "zeolite", "51/70"))


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "--help"])
    assert "--projections" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "benchmark" in capsys.readouterr().out


def test_the_papers_protocol(tmp_path, capsys):
    assert benchmark("--full --dry-run --methods fbp", tmp_path) == 0
    assert "896 reconstructions" in capsys.readouterr().out  # 7 angular ranges, 128 slices


def test_a_scan(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    import torch

    from tomopy_ganrec import ParallelBeamProjector, phantoms

    degrees = np.arange(0, 180, 4.0)
    sinogram = (
        ParallelBeamProjector(32, np.deg2rad(degrees), 32)
        .forward_project(torch.from_numpy(0.02 * phantoms.shale(32)))
        .numpy()
    )
    with h5py.File(tmp_path / "rock.h5", "w") as file:
        file["exchange/data"], file["exchange/theta"] = np.exp(-sinogram.swapaxes(0, 1)), degrees
    with h5py.File(tmp_path / "rock.h5", "a") as file:
        file["exchange/theta"][:] = degrees - 60  # a range that begins below 0
    words = f"--projections {tmp_path / 'rock.h5'} --angles -60:60 --reader h5py --methods fbp,tv --quiet"
    assert benchmark(words, tmp_path / "out") == 0
    rows = {(row["angular_range"], row["method"]): row for row in table(tmp_path / "out")}
    assert float(rows["-60:60", "tv"]["distance"]) < float(rows["-60:60", "fbp"]["distance"])
    assert (
        "rock" in (tmp_path / "out" / "table.md").read_text()
        and (tmp_path / "out" / "slices-rock-32--60to60.png").exists()
    )


def test_discs_of_the_challenge(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    import torch

    from tomopy_ganrec import ParallelBeamProjector, phantoms

    degrees, body = np.arange(0, 180, 4.0), torch.from_numpy(0.02 * phantoms.zeolite(32))
    sinogram = ParallelBeamProjector(32, np.deg2rad(degrees), 32).forward_project(body).numpy()
    with h5py.File(tmp_path / "htc2022_rock.h5", "w") as file:
        file["exchange/data"], file["exchange/theta"] = np.exp(-sinogram.swapaxes(0, 1)), degrees
        file["exchange"].attrs.update(center=16.0, attenuation_of_the_material=0.02)
    out = tmp_path / "out"
    assert benchmark(f"--htc2022 {tmp_path} --angles 0:90,0:60 --methods fbp,tv,tv-directional --quiet", out) == 0
    rows = {(row["angular_range"], row["method"]): row for row in table(out)}
    assert len(rows) == 6 and all(0 < float(row["mcc"]) < 1 and 0 < float(row["mssim"]) < 1 for row in rows.values())
    said = (out / "table.md").read_text()
    assert "| MCC " in said and "distance" not in said.split("Means over slices")[0]
    assert {"slices-htc2022_rock-32-0to90.png", "slices-htc2022_rock-32-0to60.png"} <= {p.name for p in out.iterdir()}
    page = (out / "report.html").read_text()
    assert "MCC 0." in page and '"reference"' in page
