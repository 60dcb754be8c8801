"""Journals from before options and fields of records were renamed: read under the present names, and resumed."""

import json

import numpy as np
import pytest
import torch

from tomopy_ganrec import recon
from tomopy_ganrec.io.journal import Journal
from tomopy_ganrec.option_names import renamed_options
from tomopy_ganrec.options import GanrecOptions

h5py = pytest.importorskip("h5py")

# By their present names, written out, so that the tests notice a change of the tables in the package.
OLD_OPTIONS = {
    "tv_weight": "strength",
    "edge_threshold": "epsilon",
    "wedge_tv_weight": "along",
    "reweight_rounds": "reweight",
    "wedge_rounds": "learn",
    "grid_factor": "refine",
    "joint_slices": "stack",
    "uncertainty_samples": "spread",
    "pixel_model": "pixels",
}
OLD_FIELDS = {
    "pixel_model": "pixels",
    "tv_weight": "strength",
    "edge_threshold": "epsilon",
    "wedge_tv_weight": "along",
    "residual_level": "level",
    "noise_level": "low",
    "reweight_rounds": "rounds",
    "uncertainty": "spread",
}
OLD_PIXEL_MODELS = {"area": "mean", "point": "box", "auto": "auto"}


def old_names(entries, names):
    """A dictionary of options or of a record as it was written before."""
    old = {names.get(name, name): value for name, value in entries.items()}
    if "pixels" in old:
        old["pixels"] = OLD_PIXEL_MODELS[old["pixels"]]
    return old


def make_old(journal):
    """Rewrite a journal to the old names; its records as they are written."""
    header, *entries = map(json.loads, journal.read_text().splitlines())
    header["identity"]["options"] = old_names(header["identity"]["options"], OLD_OPTIONS)
    for entry in entries:
        entry["records"] = [old_names(record, OLD_FIELDS) for record in entry["records"]]
    journal.write_text("".join(json.dumps(line) + "\n" for line in (header, *entries)))
    return header, [record for entry in entries for record in entry["records"]]


def test_options_are_renamed():
    options = {name: getattr(GanrecOptions(), name) for name in OLD_OPTIONS} | {"seed": 3, "loss": "l1"}
    for model, old in OLD_PIXEL_MODELS.items():
        options["pixel_model"] = model
        before = old_names(options, OLD_OPTIONS)
        assert before["pixels"] == old and set(before) & set(OLD_OPTIONS) == set()
        given = dict(before)
        assert renamed_options(given) == options
        assert given == before  # a copy is returned
    assert renamed_options(options) == options  # the present names stay
    assert renamed_options({"pixels": ["box"], "other": "box"}) == {"pixel_model": ["box"], "other": "box"}
    assert renamed_options({}) == {}


def test_a_journal_is_read_under_the_present_names(tmp_path):
    journal = Journal(tmp_path / "progress.jsonl")
    options = {"pixel_model": "point", "reweight_rounds": 3, "tv_weight": 0.5, "seed": 0}
    records = [{"pixel_model": "area", "tv_weight": 0.25, "noise_level": 0.1, "center": 8.0}, {"seconds": {"fit": 1.0}}]
    journal.start(Journal.header({"options": options, "theta": "0" * 64}, (3, 4, 4), 0))
    journal.append([2, 0], records)
    header, written = make_old(tmp_path / "progress.jsonl")
    assert header["identity"]["options"] == {"pixels": "box", "reweight": 3, "strength": 0.5, "seed": 0}
    assert written[0] == {"pixels": "mean", "strength": 0.25, "low": 0.1, "center": 8.0}
    header, finished = journal.read()
    # There was no bound when the journal was written, and that goes on with max_attenuation=None alone.
    assert header["identity"] == {"options": options | {"max_attenuation": None}, "theta": "0" * 64}
    assert finished == {2: records[0], 0: records[1]}


SLICES, ANGLES, N = 6, 16, 20
THETA = np.linspace(0, np.pi, ANGLES, endpoint=False)


@pytest.fixture
def one_thread():
    """A resumed run equals an uninterrupted one bit for bit with the same number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("pixel_model", ("point", "area"))
def test_a_run_that_was_killed_under_the_old_names_is_resumed(tmp_path, pixel_model):
    # A disc that grows slowly from slice to slice, with a little noise.
    x = (np.arange(N) + 0.5) / N * 2 - 1
    discs = [N / 2 * np.sqrt(np.clip((0.7 + 0.01 * k) ** 2 - x * x, 0, None)) for k in range(SLICES)]
    noise = np.random.default_rng(0).standard_normal((SLICES, ANGLES, N))
    tomo = (np.array(discs)[:, None] + 0.01 * noise).astype(np.float32)
    options = dict(
        num_iter=2,
        warm_iter=2,
        warm_start=3,
        reweight_rounds=1,
        tv_weight=0.7,
        pixel_model=pixel_model,
        batch_size=2,
        device="cpu",
        sinogram_order=True,
    )
    whole, info = recon(tomo, THETA, return_info=True, **options)
    assert sum(record["warm"] for record in info.slices) == 3  # these start from their neighbours' records

    path, journal = tmp_path / "rec.h5", tmp_path / "rec.h5.progress.jsonl"

    def stop(status):
        if journal.read_text().count("\n") > 2:  # the first line and two batches
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recon(tomo, THETA, out=path, callback=stop, **options)
    header, records = make_old(journal)
    assert 0 < len(records) < SLICES
    old_options = header["identity"]["options"]
    assert old_options["reweight"] == 1 and old_options["strength"] == 0.7
    assert old_options["pixels"] == OLD_PIXEL_MODELS[pixel_model]
    assert all(record["pixels"] == OLD_PIXEL_MODELS[pixel_model] and "strength" in record for record in records)
    fitted = []
    _, resumed = recon(tomo, THETA, out=path, return_info=True, callback=lambda status: fitted.append(1), **options)
    assert fitted
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], whole)
    for record, expected in zip(resumed.slices, info.slices, strict=True):
        kept = {name for name in expected if name not in ("history", "seconds")}
        assert {name: record[name] for name in kept} == {name: expected[name] for name in kept}
    with pytest.raises(ValueError, match="options.reweight_rounds: 1 before, 2 now"):
        recon(tomo, THETA, out=path, **options | dict(reweight_rounds=2))
