"""One call at a time for each output: locks that the system takes back when a process dies, however it does.

`flock` and the locks of open file descriptions are given back by the kernel, so that a killed run is in nobody's way. Packages for such locks
(filelock) empty the file before they know that it is free, and so cannot say who holds it.
"""

import errno
import fcntl
import json
import os
import socket
import stat
import struct
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from .mapped_file import MappedFile

__all__ = ["ArrayLock", "FileLock", "RangeLock"]

TRIES = 100  # lock files that vanish, because their owners end, between being opened and being locked
PATIENCE = 1.0  # seconds for the owner of a lock to enter its name
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)  # of file systems without locks

_guard = threading.RLock()  # a lock that is collected as garbage is released in the middle of whatever goes on
_held: "set[tuple[int, int]]" = (
    set()
)  # by device and inode: on NFS, the lock would be lost by opening the file once more in this process
_descriptors: "set[int]" = set()
_arrays: "list[np.ndarray]" = []


def _in_use(what, who: str) -> BlockingIOError:
    return BlockingIOError(
        f"{what} is being written by another reconstruction ({who}), and two would mix: wait until it has ended, or "
        "choose another place for the output"
    )


def _this_process() -> dict:
    return {
        "tomopy_ganrec": "lock",
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _named(owner: dict | None) -> str:
    if not owner:
        return "of another process"
    return f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}"


def _in_child() -> None:
    """After a fork: the locks are the parent's, and end with it, not with its children."""
    global _guard
    _guard = threading.RLock()
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _held.clear()
    _arrays.clear()


os.register_at_fork(after_in_child=_in_child)


class FileLock:
    """A lock by a file, which says who holds it and goes with it.

    Parameters
    ----------
    path : Path
        Of the lock; in a folder that exists.
    what : Path
        The output it is about, for messages.
    """

    def __init__(self, path: Path, what: Path):
        self.path, self._what, self._descriptor, self._key, self._process = path, what, None, None, 0

    def acquire(self) -> None:
        """Take the lock at once, or not.

        Raises
        ------
        BlockingIOError
            Where another call has it; the message names the process.
        FileExistsError
            For something at the path that is no such lock; it is left as it is.
        OSError
            Where no file can be made.
        """
        with _guard:
            for _ in range(TRIES):
                try:
                    if self._take():
                        return
                except (BlockingIOError, FileExistsError):
                    raise
                except OSError as error:
                    reason = error.strerror or error
                    raise OSError(
                        error.errno,
                        f"{self._what} cannot be written: {reason}; choose a place with space where you may write",
                    ) from error
        raise _in_use(self._what, _named(None))

    def _take(self) -> bool:
        """Whether it could be taken; False: the file has changed meanwhile, try again."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            pass
        else:
            if (found.st_dev, found.st_ino) in _held:
                raise _in_use(self._what, f"process {os.getpid()} on {socket.gethostname()}, this one")
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise self._foreign()
        try:
            descriptor, new = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), True
        except FileExistsError:
            try:
                descriptor, new = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), False
            except FileNotFoundError:
                return False
            except OSError as error:
                raise (self._foreign() if error.errno == errno.ELOOP else error) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise _in_use(self._what, _named(self._owner(descriptor))) from None
                if error.errno not in NO_LOCKS:
                    raise
                if not new and not self._left_behind(descriptor):
                    return False
            mine = os.fstat(descriptor)
            try:
                there = os.lstat(self.path)
            except FileNotFoundError:
                return False
            if not os.path.samestat(mine, there):
                return False
            if mine.st_size and self._read(descriptor) is None:
                raise self._foreign()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
            self._descriptor, self._key = descriptor, (mine.st_dev, mine.st_ino)
            self._process = os.getpid()
            _held.add(self._key)
            _descriptors.add(descriptor)
            return True
        finally:
            if self._descriptor != descriptor:
                os.close(descriptor)

    def _foreign(self) -> FileExistsError:
        return FileExistsError(
            f"{self.path} is in the way: it was not made to lock {self._what}; move it, or choose another name for the output"
        )

    @staticmethod
    def _read(descriptor: int) -> dict | None:
        """Who is entered in a lock, or None."""
        try:
            owner = json.loads(os.pread(descriptor, 4096, 0))
        except (ValueError, RecursionError):
            return None
        return owner if isinstance(owner, dict) and owner.get("tomopy_ganrec") == "lock" else None

    def _owner(self, descriptor: int) -> dict | None:
        """Who holds a lock; it may be about to enter its name."""
        end = time.monotonic() + PATIENCE
        while (owner := self._read(descriptor)) is None and time.monotonic() < end:
            time.sleep(0.01)
        return owner

    def _left_behind(self, descriptor: int) -> bool:
        """Whether a lock on a file system without locks is that of a process of this machine that has ended. It is removed, and to be made anew."""
        owner = self._owner(descriptor)
        if owner is None or owner.get("host") != socket.gethostname() or psutil.pid_exists(owner.get("pid")):
            told = f"{_named(owner)}; if that has ended, delete {self.path}"
            raise _in_use(self._what, told)
        self.path.unlink(missing_ok=True)
        return False

    def release(self) -> None:
        """Give the lock back, if it is held."""
        with _guard:
            descriptor, self._descriptor = self._descriptor, None
            if (
                descriptor is None or self._process != os.getpid()
            ):  # in the child of a fork it has been closed, and is the parent's
                return
            _held.discard(self._key)
            _descriptors.discard(descriptor)
            try:
                if os.path.samestat(os.fstat(descriptor), os.lstat(self.path)):
                    self.path.unlink()
            except OSError:  # its folder has gone, or may not be written to any more
                pass
            os.close(descriptor)

    def __del__(self):
        self.release()


class RangeLock:
    """A lock on the bytes of a file that a mapped array shows; other parts of the file are free for other calls."""

    def __init__(self, mapped: MappedFile):
        self._mapped, self._descriptor, self._process = mapped, None, 0

    def acquire(self) -> None:
        """As `FileLock.acquire`. On file systems without such locks nothing is locked."""
        descriptor = os.open(self._mapped.filename, os.O_RDWR | os.O_CLOEXEC)
        with _guard:
            _descriptors.add(descriptor)
            self._descriptor, self._process = descriptor, os.getpid()
        wanted = struct.pack(
            "hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, self._mapped.offset, self._mapped.span, 0
        )  # C's struct flock
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return
            self.release()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise _in_use(self._mapped.filename, _holders(self._mapped.filename)) from None

    def release(self) -> None:
        """Give the lock back, if it is held."""
        with _guard:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None and self._process == os.getpid():  # in the child of a fork it has been closed
                _descriptors.discard(descriptor)
                os.close(descriptor)

    def __del__(self):
        self.release()


def _holders(filename: str) -> str:
    """Which process has such a lock on a file, for a message: the kernel tells those who ask under ``/proc`` only."""
    for process in psutil.process_iter():
        try:
            for file in process.open_files():
                if (
                    os.path.samefile(file.path, filename)
                    and "OFDLCK" in Path(f"/proc/{process.pid}/fdinfo/{file.fd}").read_text()
                ):
                    return f"process {process.pid} on {socket.gethostname()}"
        except (psutil.Error, OSError):  # somebody else's, or it has ended
            continue
    return _named(None)


class ArrayLock:
    """A lock on the memory of an array, for the threads of this process."""

    def __init__(self, array: np.ndarray):
        self._array, self._locked = array, False

    def acquire(self) -> None:
        """As `FileLock.acquire`."""
        with _guard:
            if any(_overlap(self._array, other) for other in _arrays):
                raise _in_use("the array given as out", f"process {os.getpid()} on {socket.gethostname()}, this one")
            _arrays.append(self._array)
            self._locked = True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        with _guard:
            if self._locked:
                _arrays[:] = [other for other in _arrays if other is not self._array]
            self._locked = False


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=1000)
    except RuntimeError:  # too hard to say: numpy.exceptions.TooHardError
        return True
