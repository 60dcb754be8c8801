"""The command line."""

import json
import warnings

import numpy as np
import pytest
import torch

from tomopy_ganrec import io, recon
from tomopy_ganrec.cli import main
from tomopy_ganrec.projector import ParallelBeamProjector

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")


@pytest.fixture
def scan(tmp_path):
    theta = np.arange(0, 180, 6.0)
    y, x = np.mgrid[:24, :24] - 11.5
    disk = torch.from_numpy((0.1 * (np.hypot(y - 2, x + 3) < 6)).astype(np.float32))
    sinogram = (
        ParallelBeamProjector(24, np.deg2rad(theta), 24, 12.5).forward_project(torch.stack([disk, 2 * disk])).numpy()
    )
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"], file["exchange/theta"] = np.exp(-sinogram.swapaxes(0, 1)), theta
    return path


def test_recon_writes_what_the_function_returns(scan, tmp_path, capsys):
    out = tmp_path / "out"
    words = f"recon {scan} --center 12.5 --slices 0:2 --angles 0:120 --num-iter 2 --init sirt --out {out} --reader h5py"
    assert main(words.split()) == 0
    projections, theta = io.read_projections(scan, angles="0:120", reader="h5py")
    expected = recon(projections, theta, 12.5, num_iter=2, init="sirt")
    written = np.stack([tifffile.imread(out / f"recon_0000{k}.tiff") for k in range(2)])
    np.testing.assert_array_equal(written, expected)
    captured = capsys.readouterr()
    assert "2 slices on" in captured.out and "recon_00000.tiff … recon_00001.tiff" in captured.out
    assert "100%" in captured.err


def test_recon_to_hdf5_quietly_with_levels(scan, tmp_path, capsys):
    out = tmp_path / "out.h5"
    words = f"recon {scan} --center 12.5 --slices 1 --levels [0,0.2] --num-iter 4 --out {out} --quiet --reader h5py"
    assert main(words.split()) == 0
    with h5py.File(out) as file:
        assert file["exchange/data"].shape == (1, 24, 24) and file["exchange/data"].attrs["first_slice"] == 1
    captured = capsys.readouterr()
    assert captured.err == "" and "levels: 0, 0.2" in captured.out


@pytest.mark.parametrize(("value", "bound"), (("None", None), ("auto", "auto"), ("0.15", 0.15)))
def test_the_bound_of_the_command_line(scan, tmp_path, value, bound):
    out = tmp_path / "out.h5"
    words = f"recon {scan} --center 12.5 --slices 0:1 --angles 0:90 --num-iter 0 --out {out} --quiet"
    assert main([*words.split(), "--max-attenuation", value]) == 0
    projections, theta = io.read_projections(scan, angles="0:90", reader="h5py")
    expected = recon(projections[:, :1], theta, 12.5, num_iter=0, max_attenuation=bound)
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], expected)
    assert bound != 0.15 or expected.max() <= np.float32(0.15)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--num-iter many", "num_iter='many' must be a whole number"),
        ("--init magic", "init='magic' is not known"),
        ("--max-attenuation 0", "max_attenuation=0 must be a number above 0, or 'auto'"),
        ("--max-attenuation=-1", "max_attenuation=-1 must be a number above 0, or 'auto'"),
        ("--max-attenuation nan", "max_attenuation='nan' must be a number above 0, or 'auto'"),
        ("--max-attenuation 1e999", "max_attenuation=inf must be a number above 0"),
        ("--max-attenuation dense", "max_attenuation='dense' must be a number above 0, or 'auto'"),
        ("--max-attenuation True", "max_attenuation=True must be a number above 0, or 'auto'"),
        ("--max-attenuation 1 --nonnegative False", "does not go with nonnegative=False; leave one out"),
        ("--max-attenuation 1 --preset paper", "does not go with preset='paper'; leave one out"),
        ("--angles 300:400", "keeps 0 projections"),
        ("--center 99", "off the detector of 24 columns"),
        ("--slices 5:9", "not among the 2"),
    ],
)
def test_mistakes_end_with_a_message(scan, tmp_path, capsys, arguments, message):
    assert main(f"recon {scan} --out {tmp_path / 'out'} --reader h5py {arguments}".split()) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_missing_file(tmp_path, capsys):
    assert main(f"recon {tmp_path / 'none.h5'} --out {tmp_path / 'out'}".split()) == 1
    assert "no file" in capsys.readouterr().err


def test_help_lists_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["recon", "--help"])
    assert "--center-convention" in capsys.readouterr().out


def test_demo(tmp_path, capsys):
    pytest.importorskip("astra")
    pytest.importorskip("matplotlib")
    assert main(f"demo --size 48 --range 120 --out {tmp_path / 'demo'}".split()) == 0
    rows = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert {"method", "mssim", "rmse", "seconds"} <= set(rows[0])
    score = {row["method"]: row["mssim"] for row in rows}
    # the order that any size shows
    assert score["FBP"] < score["MLEM"] < score["TV"] < score["GANrec"]
    assert (tmp_path / "demo" / "comparison.png").stat().st_size > 10000
    assert "start of GANrec" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ("[" * 5000, "(" * 5000, "-" * 5000 + "1", "1" + "+1" * 5000),
    ids=("brackets", "parentheses", "signs", "sum"),
)
@pytest.mark.parametrize("option", ("--levels", "--noise", "--batch-size"))
def test_values_nested_deeply_are_refused_as_what_they_are(option, text, capsys):
    assert main(["recon", "nothing.h5", "--out", "out", f"{option}={text}"]) == 1
    message = capsys.readouterr().err
    assert f"option {option[2:].replace('-', '_')}=" in message and len(message.splitlines()) == 1


@pytest.mark.parametrize("text", ("a", "1:b", "1.5", "", "0:1:2"))
def test_slices_that_are_none_are_wrong_usage(text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["recon", "nothing.h5", "--out", "out", f"--slices={text}"])
    assert caught.value.code == 2 and "give FIRST:LAST" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    (
        ("recon scan.h5 --out out --learn 3", "unknown option --learn: did you mean --wedge-rounds?"),
        ("recon --strength=0.1 scan.h5 --out out", "unknown option --strength: did you mean --tv-weight?"),
        ("recon scan.h5 --out out --pixels box", "unknown option --pixels: did you mean --pixel-model?"),
        ("recon scan.h5 --out out --num-itr 3", "unknown option --num-itr: did you mean --num-iter?"),
        ("recon scan.h5 --out out --learning 3", "unknown option --learning: did you mean --learning-rate?"),
        ("recon scan.h5 --out out --wedge 1", "did you mean --wedge-rounds or --wedge-tv-weight?"),
        ("recon scan.h5 --out out --xyzzy", "unknown option --xyzzy; tomopy-ganrec recon --help lists"),
        ("recon scan.h5 other.h5 --out out", "unknown arguments: other.h5"),
        ("benchmark --object shale", "unknown option --object: did you mean --objects or --object-seeds?"),
        ("demo --photon 1e4", "unknown option --photon: did you mean --photons?"),
    ),
)
def test_unknown_flags_and_abbreviations_name_the_nearest(words, hint, capsys):
    """``--learn`` was the name of another option, and no abbreviation of ``--learning-rate``."""
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2 and hint in capsys.readouterr().err


@pytest.mark.parametrize("flag", ("--range", "--wedge"))
def test_the_angular_range_of_the_demonstration(flag, monkeypatch):
    calls = []
    monkeypatch.setattr("tomopy_ganrec.benchmark.demo.demo", lambda *arguments: calls.append(arguments))
    assert main(["demo", flag, "90"]) == 0 and main(["demo"]) == 0
    assert calls == [("demo", 256, 90, None), ("demo", 256, 120, None)]


def test_masks_from_files_and_by_word(scan, tmp_path, capsys):
    mask = np.stack([np.eye(24), np.eye(24)[::-1]])
    np.save(tmp_path / "each.npy", mask)
    tifffile.imwrite(tmp_path / "both.tif", mask.max(0).astype(np.uint8))
    words = f"recon {scan} --center 12.5 --num-iter 2 --init sirt --quiet --reader h5py"
    for value, given in (("each.npy", mask), ("both.tif", mask.max(0)), ("outline", "outline"), ("False", False)):
        out = tmp_path / f"{value}.h5"
        where = tmp_path / value if "." in value else value
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the reconstruction does not explain")
            assert main([*words.split(), "--mask", str(where), "--out", str(out)]) == 0
            projections, theta = io.read_projections(scan, reader="h5py")
            expected = recon(projections, theta, 12.5, num_iter=2, init="sirt", mask=given)
        with h5py.File(out) as file:
            np.testing.assert_array_equal(file["exchange/data"][:], expected)
    for value, message in (
        ("magic", "neither True, False or 'outline' nor a file"),
        ("none.npy", "there is no mask file none.npy"),
        ("7", "mask=7 must be 'auto', True, False, 'outline' or an array"),
    ):
        assert main([*words.split(), "--mask", value, "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
