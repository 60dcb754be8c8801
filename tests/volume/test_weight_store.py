"""Network weights beside an output: stored whole; of damaged ones the message says what to delete."""

import os

import pytest
import torch

from tomopy_ganrec.volume.weight_store import WeightStore

STATE = {"generator": {"weight": torch.arange(64.0)}, "discriminator": None}


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "rec.h5.weights")


def test_weights_come_back_and_older_ones_go(store, tmp_path):
    for index in range(4):
        store.keep(index, STATE)
    assert torch.equal(store.get(3)["generator"]["weight"], STATE["generator"]["weight"])
    assert sorted(path.name for path in (tmp_path / "rec.h5.weights").iterdir()) == ["000002.pt", "000003.pt"]
    assert store.get(0) is None and WeightStore(tmp_path / "nothing").get(0) is None
    store.clear()
    assert not (tmp_path / "rec.h5.weights").exists()


def test_weights_under_the_old_name_of_the_discriminator_are_read(store):
    store.keep(0, {"generator": STATE["generator"], "judge": {"bias": torch.ones(2)}})
    weights = store.get(0)
    assert set(weights) == {"generator", "discriminator"} and weights["discriminator"]["bias"].sum() == 2


@pytest.mark.parametrize("harm", ["empty", "cut", "zeros", "text", "pickle", "tensor", "other", "folder"])
def test_damaged_weights_say_what_to_delete(store, tmp_path, harm):
    store.keep(7, STATE)
    path = tmp_path / "rec.h5.weights" / "000007.pt"
    content = path.read_bytes()
    if harm in ("tensor", "other"):
        torch.save(torch.zeros(3) if harm == "tensor" else {"weights": {}}, path)
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        import pickle

        made = {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "zeros": bytes(len(content)),
            "text": b"hello" * 99,
            "pickle": pickle.dumps(print),
        }
        path.write_bytes(made[harm])
    with pytest.raises(
        RuntimeError,
        match="000007.pt is damaged .*: slice 8 cannot begin .* Delete .*rec.h5.weights and .*rec.h5 with its progress",
    ):
        store.get(7)


def test_weights_are_on_the_disk_before_they_have_their_name(store, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    store.keep(0, STATE)
    folder = tmp_path / "rec.h5.weights"
    assert len(done) == 2 and done[0].startswith(str(folder / ".000000.pt.")) and done[1] == str(folder)


def test_a_full_disk_leaves_nothing(store, tmp_path, monkeypatch):
    store.keep(0, STATE)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.keep(1, STATE)
    assert [path.name for path in (tmp_path / "rec.h5.weights").iterdir()] == ["000000.pt"]
