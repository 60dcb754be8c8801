"""A folder of finished reconstructions: what is complete stays, what is not is done again."""

import json
import math
import os

import numpy as np
import pytest

pytest.importorskip("astra")
from tomopy_ganrec.benchmark.rows import COLUMNS, COLUMNS_OF_0_1
from tomopy_ganrec.benchmark.store import ABANDONED, Results


def row(method="tv", seed=None, **more):
    known = dict(
        case="shale-32-pixel-120-clean",
        object="shale",
        slice=0,
        object_seed=0,
        setup="one",
        method=method,
        seed=seed,
        parameters="λ",
        status="ok",
        protocol="pixel",
        size=32,
        angular_range="120",
        degrees=119.0,
        projections=120,
        oracle=False,
        mssim=0.5,
    )
    texts = dict.fromkeys(("error", "image", "reference"), "")
    return dict.fromkeys(COLUMNS) | texts | known | more


def test_a_row_comes_back_with_its_types(tmp_path):
    results = Results(tmp_path / "new" / "out")
    kept = row(photons=None, oracle=True, seconds=1.5)
    results.save(kept)
    assert results.finished(row()) == kept == Results(tmp_path / "new" / "out", create=False).rows()[0]


def test_an_image_comes_back(tmp_path):
    results = Results(tmp_path)
    image = np.random.default_rng(0).random((5, 4))
    name = results.keep_image(row(), "tv", image)
    np.testing.assert_array_equal(results.image(name), image.astype(np.float32))
    assert not name.startswith("/")  # the folder can be moved


@pytest.mark.parametrize(
    "change",
    [dict(method="fbp"), dict(seed=1), dict(slice=1), dict(object_seed=1), dict(case="shale-32-pixel-90-clean")],
    ids=str,
)
def test_another_reconstruction_is_not_finished(tmp_path, change):
    results = Results(tmp_path)
    results.save(row())
    assert results.finished(row(**change)) is None
    results.save(row(**change))
    assert len(results.rows()) == 2


def test_other_parameters_are_computed_again(tmp_path):
    results = Results(tmp_path)
    results.save(row(parameters="λ = 1"))
    assert results.finished(row(parameters="λ = 2")) is None


def test_a_failure_is_tried_again_but_reported(tmp_path):
    results = Results(tmp_path)
    results.save(row(status="failed", error="no"))
    assert results.finished(row()) is None
    assert results.rows()[0]["error"] == "no"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"case": 1}', b"\xff\xfe"])
def test_a_damaged_row_is_as_if_it_were_not_there(tmp_path, damage, caplog):
    results = Results(tmp_path)
    results.save(row())
    results.save(row(method="fbp"))
    path = next((tmp_path / "cells").rglob("tv.json"))
    path.write_bytes(damage)
    results = Results(tmp_path)
    assert results.finished(row()) is None
    assert [r["method"] for r in results.rows()] == ["fbp"]
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_row_whose_image_is_damaged_is_computed_again(tmp_path, harm):
    results = Results(tmp_path)
    name = results.keep_image(row(), "tv", np.ones((8, 8)))
    results.save(row(image=name))
    assert results.finished(row()) is not None
    if harm == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:150])
    assert results.finished(row()) is None
    (kept,) = results.rows()  # its numbers do not need the image
    assert kept["mssim"] == 0.5 and kept["image"] == ""


def test_an_image_that_is_wanted_later(tmp_path):
    results = Results(tmp_path)
    results.save(row())
    assert results.finished(row()) is not None and results.finished(row(), with_image=True) is None


@pytest.mark.parametrize(
    "change, refused",
    [(dict(setup="two"), True), (dict(setup="two", slice=1), False), (dict(method="fbp"), False)],
    ids=str,
)
def test_the_same_slice_from_other_data_is_refused(tmp_path, change, refused):
    results = Results(tmp_path)
    results.save(row())
    if refused:
        with pytest.raises(ValueError, match="from other data .one; now two.; give another folder"):
            results.check_setup([row(**change)])
    else:
        results.check_setup([row(**change)])


@pytest.mark.parametrize("suffix", ["part", "1234.draft"], ids=["part", "of 0.1.0"])
def test_unfinished_files_of_a_killed_run_are_removed_and_those_of_a_living_one_are_not(tmp_path, suffix):
    results = Results(tmp_path)
    results.save(row())
    dead, living = (tmp_path / "cells" / f".tv.json.{token}.{suffix}" for token in ("0123abcd", "89ef0123"))
    notes = tmp_path / f".notes.{suffix}"  # not ours: it has no eight hexadecimal digits
    for path in (dead, living, notes):
        path.touch()
    for path in (dead, notes):
        os.utime(path, (0, path.stat().st_mtime - 2 * ABANDONED))
    assert len(Results(tmp_path).rows()) == 1
    assert not dead.exists() and living.exists() and notes.exists()


def test_a_row_of_0_1_is_read(tmp_path):
    """The angular range was in the column ``wedge``, and parameters were described in other words."""
    results = Results(tmp_path)
    now = row(parameters="120 iterations of TV for area-mean pixels; 8 rounds")
    results.save(now)
    path = next((tmp_path / "cells").rglob("tv.json"))
    stored = json.loads(path.read_text())
    stored.pop("mcc")
    before = dict(zip(COLUMNS_OF_0_1, stored.values(), strict=True))
    path.write_text(json.dumps(before | {"parameters": "120 iterations of TV for pixels as means; 8 rounds"}))
    assert results.rows() == [now] and results.finished(now) == now
    results.check_setup([now])
    results.save(results.rows()[0])
    assert json.loads(path.read_text()) == now  # written anew it has the column of today


def test_an_interrupted_write_leaves_the_old_row(tmp_path, monkeypatch):
    results = Results(tmp_path)
    results.save(row(mssim=0.25))
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        results.save(row(mssim=0.75))
    assert results.finished(row())["mssim"] == 0.25
    assert not list(tmp_path.rglob("*.part"))


def test_folders_that_cannot_hold_results(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        Results(tmp_path / "file")
    with pytest.raises(PermissionError, match="cannot be written"):
        Results(tmp_path / "file" / "below")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    with pytest.raises(ValueError, match="holds other things"):
        Results(tmp_path / "thesis")
    with pytest.raises(FileNotFoundError, match="holds no results"):
        Results(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        Results(tmp_path / "out")


def test_rows_are_plain_json(tmp_path):
    Results(tmp_path).save(row(mssim=0.5))
    assert set(json.loads(next((tmp_path / "cells").rglob("*.json")).read_text())) == set(COLUMNS)


WRONG = {
    "texts": (
        (
            "case",
            "object",
            "protocol",
            "angular_range",
            "setup",
            "method",
            "label",
            "parameters",
            "error",
            "device",
            "versions",
            "image",
            "reference",
        ),
        (math.nan, 5, ["a"], {}, True, "\ud800"),
    ),
    "counts": (("size", "projections", "slice", "object_seed", "seed"), ("5", 1.5, -1, True, [], math.nan, 10**400)),
    "measures": (
        ("mssim", "mssim_7x7", "rmse", "mcc", "residual", "residual_heldout", "distance", "seconds"),
        ("0.5", True, [0.5], {}, 10**400, 1e300),
    ),
    "degrees": (("degrees",), (None, "9", math.nan, math.inf, 10**400)),
    "photons": (("photons",), (0, -1, math.nan, math.inf, 10**400, "1e5")),
    "switches": (("oracle",), (0, "True", [], 1.0)),
    "status": (("status",), (None, "fine", 1, [])),
    "never empty": (("case", "object", "protocol", "size", "angular_range", "degrees", "slice", "method"), (None,)),
}


@pytest.mark.parametrize("names, values", WRONG.values(), ids=WRONG)
def test_a_row_with_a_wrong_value_does_not_count(tmp_path, names, values, caplog):
    results = Results(tmp_path)
    results.save(row())
    path = next((tmp_path / "cells").rglob("tv.json"))
    good = json.loads(path.read_text())
    for name in names:
        for value in values:
            caplog.clear()
            path.write_text(json.dumps(good | {name: value}))
            assert results.rows() == [] and results.finished(row()) is None
            assert f"{path} is damaged and does not count: {name} is " in caplog.text
    path.write_text("[" * 100000)
    assert results.rows() == []
    path.write_text(json.dumps(good | {"mssim": math.nan, "rmse": math.inf, "photons": 1e5, "seed": None}))
    assert len(results.rows()) == 1


@pytest.mark.parametrize("place", ["absolute", "above", "within and above", "link", "linked folder"])
def test_images_outside_of_the_folder_are_not_read(tmp_path, place):
    results, secret = Results(tmp_path / "out"), tmp_path / "secret.npy"
    np.save(secret, np.ones((4, 4), np.float32))
    (tmp_path / "out" / "images").mkdir()
    names = {
        "absolute": str(secret),
        "above": "../secret.npy",
        "within and above": "images/../../secret.npy",
        "link": "images/x.npy",
    }
    name = names.get(place, "images/folder/secret.npy")
    if place == "link":
        (tmp_path / "out" / name).symlink_to(secret)
    elif place == "linked folder":
        (tmp_path / "out" / "images" / "folder").symlink_to(tmp_path)
    results.save(row(image=name, reference=name))
    assert results.finished(row()) is None
    assert results.rows()[0]["image"] == results.rows()[0]["reference"] == ""
    with pytest.raises(ValueError, match="is not in the folder of the results"):
        results.image(name)


@pytest.mark.parametrize(
    "content",
    [np.ones(5), np.ones((2, 3, 4)), np.ones((3, 3), complex), np.array([["a"]]), np.ones((0, 4)), np.float32(1)],
    ids=str,
)
def test_files_that_hold_no_slice_are_no_images(tmp_path, content):
    results = Results(tmp_path)
    name = results.keep_image(row(), "tv", np.ones((4, 4)))
    np.save(tmp_path / name, content)
    results.save(row(image=name))
    assert results.finished(row()) is None and results.rows()[0]["image"] == ""


def test_images_of_different_sizes_are_not_compared(tmp_path):
    results = Results(tmp_path)
    names = [results.keep_image(row(), name, np.ones(shape)) for name, shape in (("tv", (4, 4)), ("truth", (5, 5)))]
    results.save(row(image=names[0], reference=names[1]))
    assert results.rows()[0]["image"] and results.rows()[0]["reference"] == ""


def test_a_link_at_the_name_of_an_unfinished_file_is_not_followed(tmp_path, monkeypatch):
    results, victim = Results(tmp_path / "out"), tmp_path / "victim"
    victim.write_text("mine")
    results.save(row())
    folder = next((tmp_path / "out" / "cells").rglob("tv.json")).parent
    monkeypatch.setattr("secrets.token_hex", lambda count: "00")
    (folder / ".fbp.json.00.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        results.save(row(method="fbp"))
    assert victim.read_text() == "mine"
