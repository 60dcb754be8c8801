"""Locks on outputs: a second call is refused, a killed run blocks nobody, and no file of anybody else is changed."""

import errno
import fcntl
import json
import multiprocessing
import os
import pickle
import subprocess
import threading
import warnings

import numpy as np
import pytest
import torch

from tomopy_ganrec import io, recon
from tomopy_ganrec.io import array_lock, output_lock
from tomopy_ganrec.io.array_lock import ArrayLock
from tomopy_ganrec.io.mapped_file import file_behind
from tomopy_ganrec.io.output_lock import FileLock, RangeLock
from tomopy_ganrec.io.outputs import output_of

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")

SHAPE = (4, 24, 24)
THETA = np.linspace(0, 2.1, 12)
DATA = np.random.default_rng(0).random((4, 12, 24)).astype(np.float32)
QUICK = dict(sinogram_order=True, num_iter=1, reweight_rounds=1, pixel_model="point", device="cpu", batch_size=1)


def call(pipe, out, seed, kind):
    """Reconstruct in a process of its own, once "go" comes, and send the outcome; with kind='wait' also wait for it in
    the first callback."""
    torch.set_num_threads(1)
    if kind == "memmap":
        out = np.memmap(out, np.float32, "r+", 0, SHAPE)

    def wait(status):
        pipe.send("waiting")
        pipe.recv()

    pipe.send("ready")
    pipe.recv()
    try:
        recon(DATA, THETA, out=out, seed=seed, callback=wait if kind == "wait" else None, **QUICK)
        pipe.send("ok")
    except (OSError, ValueError) as error:
        pipe.send(f"{type(error).__name__} {error}")


@pytest.fixture(params=["rec.h5", "tiffs"])
def disk(request, tmp_path):
    return tmp_path / "deep" / request.param


@pytest.fixture
def start():
    """A function (out, seed, kind) that starts a process that is ready to reconstruct; and the pipe to it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tomopy_ganrec.volume.local", "h5py", "tifffile"])
    running = []

    def begin(out, seed=0, kind="plain"):
        ours, theirs = context.Pipe()
        process = context.Process(target=call, args=(theirs, out, seed, kind))
        process.start()
        running.append(process)
        process.pipe = ours
        assert answer(process) == "ready"
        return process

    yield begin
    for process in running:
        process.kill()
        process.join()
        process.pipe.close()


def go(*processes):
    for process in processes:
        process.pipe.send("go")


def answer(process):
    assert process.pipe.poll(60)
    return process.pipe.recv()


def volume_of(path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["exchange/data"][:]
    return np.stack([tifffile.imread(path / f"recon_{k:05d}.tiff") for k in range(SHAPE[0])])


def leftovers(folder):
    """Temporary files and locks."""
    return [path for path in folder.rglob("*") if path.suffix in (".part", ".lock")]


@pytest.fixture(scope="module")
def expected():
    """The volume of each seed."""
    volumes = {seed: recon(DATA, THETA, seed=seed, **QUICK) for seed in (3, 4)}
    assert not np.array_equal(volumes[3], volumes[4])
    return volumes


# Two at once


@pytest.mark.parametrize("seeds", [(3, 4), (3, 3)], ids=["different", "same"])
def test_of_two_processes_at_the_same_moment_one_is_refused(start, disk, seeds, expected):
    processes = [start(disk, seed) for seed in seeds]
    go(*processes)
    answers = [answer(process) for process in processes]
    good = [seed for seed, message in zip(seeds, answers, strict=True) if message == "ok"]
    volume = volume_of(disk)
    assert good and all(np.allclose(volume, expected[seed], atol=1e-4) for seed in good)
    for message, other in zip(answers, reversed(processes), strict=True):
        named = (
            message.startswith("BlockingIOError")
            and f"(process {other.pid} on " in message
            and "choose another place" in message
        )
        assert (
            named or message == "ok" or "was begun for something else: options.seed" in message
        )  # the other had ended
    assert not leftovers(disk.parent)


def test_while_one_is_at_work_the_other_is_refused_and_touches_nothing(start, disk, expected):
    first, second = start(disk, 3, "wait"), start(disk, 4)
    go(first)
    assert answer(first) == "waiting"
    before = {path: path.read_bytes() for path in disk.parent.rglob("*") if path.is_file()}
    go(second)
    message = answer(second)
    assert message.startswith(
        f"BlockingIOError {disk} is being written by another reconstruction (process {first.pid} on "
    )
    assert {path: path.read_bytes() for path in disk.parent.rglob("*") if path.is_file()} == before
    with pytest.raises(BlockingIOError, match=f"process {first.pid} on"):
        recon(DATA, THETA, out=disk, seed=3, **QUICK)


def test_a_killed_run_blocks_nobody(start, disk):
    whole = recon(DATA, THETA, **QUICK)
    process = start(disk, 0, "wait")
    go(process)
    assert answer(process) == "waiting"
    process.kill()
    process.join()
    assert [path.suffix for path in leftovers(disk.parent)] == [".lock"]  # it was really held
    assert recon(DATA, THETA, out=disk, **QUICK) == disk
    np.testing.assert_allclose(volume_of(disk), whole, atol=1e-4)
    assert not leftovers(disk.parent)


def test_what_its_children_keep_open_does_not_keep_the_lock(disk):
    output = output_of(disk, SHAPE)
    output.begin({}, alone=True)
    reader, writer = os.pipe()
    child = subprocess.Popen(["sleep", "60"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        forked = os.fork()
    if forked == 0:
        os.read(reader, 1)
        os._exit(0)
    try:
        output.close()
        again = output_of(disk, SHAPE)
        again.begin({}, alone=True)
        again.close()
    finally:
        os.write(writer, b"x")
        os.waitpid(forked, 0)
        child.kill()
        child.wait()
        os.close(reader)
        os.close(writer)


def both_at_once(first, second):
    """Calls `second` from a callback of `first`, in another thread; what it raised."""
    caught = []

    def other():
        try:
            second()
        except BaseException as error:
            caught.append(error)

    def callback(status):
        if not caught:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

    first(callback)
    return caught[0]


def test_threads_of_one_process(disk):
    error = both_at_once(
        lambda callback: recon(DATA, THETA, out=disk, callback=callback, **QUICK),
        lambda: recon(DATA, THETA, out=disk, **QUICK),
    )
    assert isinstance(error, BlockingIOError) and f"process {os.getpid()} on" in str(error) and "this one" in str(error)
    assert recon(DATA, THETA, out=disk, **QUICK) == disk


def test_one_output_given_to_two_calls(disk):
    output = output_of(disk, SHAPE)
    error = both_at_once(
        lambda callback: recon(DATA, THETA, out=output, callback=callback, **QUICK),
        lambda: [recon(DATA, THETA, out=output, **QUICK) for _ in range(2)],
    )
    assert isinstance(error, BlockingIOError)
    assert recon(DATA, THETA, out=output, **QUICK) == disk


@pytest.mark.parametrize("view", [np.s_[:], np.s_[1:3], np.s_[::2]], ids=str)
def test_arrays_in_memory(view):
    whole = np.zeros(SHAPE, np.float32)
    part = whole[view]
    error = both_at_once(
        lambda callback: recon(DATA, THETA, out=whole, callback=callback, **QUICK),
        lambda: recon(DATA[: len(part)], THETA, out=part, **QUICK),
    )
    assert isinstance(error, BlockingIOError) and "the array given as out" in str(error)
    recon(DATA, THETA, out=whole, **QUICK)


def test_parts_of_an_array_may_be_written_at_once(tmp_path):
    for whole in (np.zeros(SHAPE, np.float32), np.memmap(tmp_path / "out.raw", np.float32, "w+", 128, SHAPE)):
        outputs = [output_of(whole[:2], (2, 24, 24)), output_of(whole[2:], (2, 24, 24))]
        for output in outputs:
            output.begin({}, alone=True)
        with pytest.raises(BlockingIOError):
            output_of(whole[1:3], (2, 24, 24)).begin({}, alone=True)
        outputs[0].close()
        with pytest.raises(BlockingIOError):
            output_of(whole[1:3], (2, 24, 24)).begin({}, alone=True)
        outputs[1].close()
        output_of(whole[1:3], (2, 24, 24)).begin({}, alone=True)


def test_a_mapped_array_in_two_processes(start, tmp_path):
    whole = np.memmap(tmp_path / "out.raw", np.float32, "w+", 0, SHAPE)
    output = output_of(whole, SHAPE)
    output.begin({}, alone=True)
    process = start(tmp_path / "out.raw", 0, "memmap")
    go(process)
    message = answer(process)
    assert message.startswith(
        f"BlockingIOError {tmp_path / 'out.raw'} is being written by another reconstruction (process {os.getpid()} on "
    )
    output.close()
    process = start(tmp_path / "out.raw", 0, "memmap")
    go(process)
    assert answer(process) == "ok" and whole.any()


# The lock itself


def test_a_lock_that_is_garbage_collected_is_released(tmp_path):
    lock = FileLock(tmp_path / "x.lock", tmp_path / "x")
    lock.acquire()
    assert json.loads((tmp_path / "x.lock").read_text())["pid"] == os.getpid()
    with pytest.raises(BlockingIOError):
        FileLock(tmp_path / "x.lock", tmp_path / "x").acquire()
    del lock
    assert not list(tmp_path.iterdir())
    again = FileLock(tmp_path / "x.lock", tmp_path / "x")
    again.acquire()
    again.release()
    again.release()
    assert not output_lock._held and not output_lock._descriptors


@pytest.mark.parametrize("kind", ["text", "json", "folder", "link", "dangling", "hard link"])
def test_what_is_no_lock_is_left_alone(tmp_path, kind):
    victim, lock = tmp_path / "victim", tmp_path / ".rec.h5.lock"
    victim.write_text("mine")
    if kind == "text":
        lock.write_text("mine")
    elif kind == "json":
        lock.write_text('{"pid": 1}')
    elif kind == "folder":
        lock.mkdir()
    elif kind == "hard link":
        os.link(victim, lock)
    else:
        lock.symlink_to(victim if kind == "link" else tmp_path / "nothing")
    before = lock.read_text() if lock.is_file() else ""
    with pytest.raises(
        FileExistsError, match=r"\.rec\.h5\.lock is in the way: it was not made to lock .*rec\.h5; move it"
    ):
        recon(DATA, THETA, out=tmp_path / "rec.h5", **QUICK)
    assert os.path.lexists(lock) and victim.read_text() == "mine" and (not lock.is_file() or lock.read_text() == before)
    assert not (tmp_path / "nothing").exists() and not (tmp_path / "rec.h5").exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, code):
    def none(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(fcntl, "fcntl", none)
    path = tmp_path / "x.lock"
    lock = FileLock(path, tmp_path / "x")
    lock.acquire()
    held = json.loads(path.read_text())
    with pytest.raises(BlockingIOError):
        FileLock(path, tmp_path / "x").acquire()
    lock.release()
    assert not path.exists()
    dead = subprocess.Popen(["true"])
    dead.wait()
    for owner, free in (
        (dict(held, pid=dead.pid), True),
        (dict(held, pid=os.getppid()), False),
        (dict(held, host="elsewhere"), False),
    ):
        path.write_text(json.dumps(owner))
        lock = FileLock(path, tmp_path / "x")
        if free:
            lock.acquire()
            lock.release()
        else:
            with pytest.raises(
                BlockingIOError, match=f"process {owner['pid']} on {owner['host']}.*if that has ended, delete .*x.lock"
            ):
                lock.acquire()
    mapped = np.memmap(tmp_path / "out.raw", np.float32, "w+", 0, SHAPE)
    lock = RangeLock(file_behind(mapped))
    lock.acquire()
    lock.release()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_where_no_lock_can_be_made(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="rec.h5 cannot be written: Permission denied; choose a place"):
        recon(DATA, THETA, out=tmp_path / "rec.h5", **QUICK)


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("rec.h5", "tiffs"):
        with pytest.raises(NotADirectoryError, match="cannot be written: Not a directory; choose a place"):
            recon(DATA, THETA, out=tmp_path / "file" / name, **QUICK)


def test_copies_for_other_processes_hold_no_lock(disk):
    output = output_of(disk, SHAPE)
    output.begin({}, alone=True)
    copy = pickle.loads(pickle.dumps(output))
    copy.close()
    copy.write([0], np.zeros((1, 24, 24)))
    with pytest.raises(BlockingIOError):
        output_of(disk, SHAPE).begin({}, alone=True)
    output.close()
    output_of(disk, SHAPE).begin({}, alone=True)


def test_a_begin_that_fails_gives_the_lock_back(disk):
    io.write_slices(np.zeros(SHAPE), disk)
    for _ in range(2):
        with pytest.raises(FileExistsError, match="was not begun by such a reconstruction"):
            recon(DATA, THETA, out=disk, **QUICK)
    assert not leftovers(disk.parent)


def test_a_view_that_is_hard_to_compare_counts_as_shared():
    memory = np.zeros(10**6, np.float32)
    strange = np.lib.stride_tricks.as_strided(memory, (7, 11, 13), (4 * 1009, 4 * 997, 4 * 991))
    other = np.lib.stride_tricks.as_strided(memory[1:], (7, 11, 13), (4 * 1013, 4 * 983, 4 * 977))
    lock = ArrayLock(strange)
    lock.acquire()
    with pytest.raises(BlockingIOError):
        ArrayLock(other).acquire()
    lock.release()
    ArrayLock(other).acquire()
    array_lock._arrays.clear()
