"""Locks on outputs, one call at a time for each; the system releases them when a process dies, however it does.

The kernel releases `flock` and the locks of open file descriptions, so that a killed run blocks nobody. Packages for
such locks (filelock) empty the file before they know that it is free, and so cannot say which process holds it.
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
from typing import Any, Protocol

import psutil

from .mapped_file import MappedFile

__all__ = ["FileLock", "Lock", "RangeLock", "in_use_error", "own_process_text"]

MAX_TRIES = 100  # lock files may vanish, as their owners end, between being opened and being locked: try so often
OWNER_TIMEOUT = 1.0  # seconds for the owner of a lock to write its name into the file
# Error numbers of file systems without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

_guard = threading.RLock()  # reentrant: garbage collection may release a lock in the middle of any other operation
# Held locks by device and inode: on NFS, a lock would be lost by opening its file once more in this process.
_held: set[tuple[int, int]] = set()
_descriptors: set[int] = set()


class Lock(Protocol):
    """A lock that one call holds at a time."""

    def acquire(self) -> None:
        """Take the lock at once, or raise BlockingIOError."""
        ...

    def release(self) -> None:
        """Release the lock, if it is held."""
        ...


def in_use_error(what: str | Path, owner: str) -> BlockingIOError:
    """The error of a call whose output another one is writing to."""
    return BlockingIOError(
        f"{what} is being written by another reconstruction ({owner}), and two would mix: wait until it has ended, or "
        "choose another place for the output"
    )


def _this_process() -> dict[str, Any]:
    """The content of a lock file: its owner."""
    return {
        "tomopy_ganrec": "lock",
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _owner_text(owner: dict[str, Any] | None) -> str:
    """The owner of a lock, for messages."""
    if not owner:
        return "of another process"
    return f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}"


def own_process_text() -> str:
    """The process that asks, as the owner of a lock, for messages."""
    return f"process {os.getpid()} on {socket.gethostname()}, this one"


def _forget_locks_of_parent() -> None:
    """After a fork: the locks belong to the parent, and end with it, not with its children."""
    global _guard
    _guard = threading.RLock()
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks_of_parent)


class FileLock:
    """A lock by a file, which names the process that holds it and is removed with the lock.

    Parameters
    ----------
    path : Path
        Of the lock; in a folder that exists.
    output : Path
        The output that is locked, for messages.
    """

    def __init__(self, path: Path, output: Path):
        self.path, self._output = path, output
        self._descriptor: int | None = None
        self._process = 0

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
            for _ in range(MAX_TRIES):
                try:
                    if self._try_once():
                        return
                except (BlockingIOError, FileExistsError):
                    raise
                except OSError as error:
                    reason = error.strerror or error
                    raise OSError(
                        error.errno,
                        f"{self._output} cannot be written: {reason}; choose a place with space where you may write",
                    ) from error
        raise in_use_error(self._output, _owner_text(None))

    def _try_once(self) -> bool:
        """Whether the lock could be taken; False: the file has changed meanwhile, try again."""
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            pass
        else:
            if (status.st_dev, status.st_ino) in _held:
                raise in_use_error(self._output, own_process_text())
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise self._foreign()
        opened = self._open()
        if opened is None:
            return False
        descriptor, created = opened
        try:
            return self._lock(descriptor, created)
        finally:
            if self._descriptor != descriptor:
                os.close(descriptor)

    def _open(self) -> tuple[int, bool] | None:
        """The lock file's descriptor and whether it is new; None for a file that has vanished meanwhile."""
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), True
        except FileExistsError:
            try:
                return os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), False
            except FileNotFoundError:
                return None
            except OSError as error:
                raise (self._foreign() if error.errno == errno.ELOOP else error) from None

    def _lock(self, descriptor: int, created: bool) -> bool:
        """Lock an open file and enter this process as its owner; False: the file has changed meanwhile."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise in_use_error(self._output, _owner_text(self._owner(descriptor))) from None
            if error.errno not in NO_LOCKS:
                raise
            if not created:
                self._remove_if_left_behind(descriptor)
                return False
        status = os.fstat(descriptor)
        try:
            status_at_path = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if not os.path.samestat(status, status_at_path):
            return False
        if status.st_size and self._read(descriptor) is None:
            raise self._foreign()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
        self._descriptor, self._key = descriptor, (status.st_dev, status.st_ino)
        self._process = os.getpid()
        _held.add(self._key)
        _descriptors.add(descriptor)
        return True

    def _foreign(self) -> FileExistsError:
        return FileExistsError(
            f"{self.path} is in the way: it was not made to lock {self._output}; move it, or choose another name for "
            "the output"
        )

    @staticmethod
    def _read(descriptor: int) -> dict[str, Any] | None:
        """The owner that a lock file names, or None."""
        try:
            owner = json.loads(os.pread(descriptor, 4096, 0))
        except (ValueError, RecursionError):
            return None
        return owner if isinstance(owner, dict) and owner.get("tomopy_ganrec") == "lock" else None

    def _owner(self, descriptor: int) -> dict[str, Any] | None:
        """The owner that a lock file names, waiting a little for one that has just locked it."""
        end = time.monotonic() + OWNER_TIMEOUT
        while (owner := self._read(descriptor)) is None and time.monotonic() < end:
            time.sleep(0.01)
        return owner

    def _remove_if_left_behind(self, descriptor: int) -> None:
        """On a file system without locks: remove the lock file of a process of this machine that has ended.

        Raises
        ------
        BlockingIOError
            For a lock of another machine, or of a process that may still run.
        """
        owner = self._owner(descriptor)
        if owner is None or owner.get("host") != socket.gethostname() or psutil.pid_exists(owner.get("pid")):
            raise in_use_error(self._output, f"{_owner_text(owner)}; if that has ended, delete {self.path}")
        self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lock, if it is held."""
        with _guard:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is None or self._process != os.getpid():
                return  # in the child of a fork the descriptor has been closed, and the lock is the parent's
            _held.discard(self._key)
            _descriptors.discard(descriptor)
            try:
                if os.path.samestat(os.fstat(descriptor), os.lstat(self.path)):
                    self.path.unlink()
            except OSError:  # its folder has gone, or may not be written to any more
                pass
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()


class RangeLock:
    """A lock on the bytes of a file that a mapped array shows; other parts of the file stay free for other calls."""

    def __init__(self, mapped: MappedFile):
        self._mapped = mapped
        self._descriptor: int | None = None
        self._process = 0

    def acquire(self) -> None:
        """As `FileLock.acquire`. On file systems without such locks nothing is locked."""
        descriptor = os.open(self._mapped.filename, os.O_RDWR | os.O_CLOEXEC)
        with _guard:
            _descriptors.add(descriptor)
            self._descriptor, self._process = descriptor, os.getpid()
        # C's struct flock
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, self._mapped.offset, self._mapped.span, 0)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return
            self.release()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise in_use_error(self._mapped.filename, _holder_of_range(self._mapped.filename)) from None

    def release(self) -> None:
        """Release the lock, if it is held."""
        with _guard:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None and self._process == os.getpid():  # in the child of a fork it has been closed
                _descriptors.discard(descriptor)
                os.close(descriptor)

    def __del__(self) -> None:
        self.release()


def _holder_of_range(filename: str) -> str:
    """The process that has such a lock on a file, for messages; the kernel lists these locks under ``/proc`` only."""
    for process in psutil.process_iter():
        try:
            for file in process.open_files():
                status = Path(f"/proc/{process.pid}/fdinfo/{file.fd}")
                if os.path.samefile(file.path, filename) and "OFDLCK" in status.read_text():
                    return f"process {process.pid} on {socket.gethostname()}"
        except (psutil.Error, OSError):  # a process of another user, or one that has ended
            continue
    return _owner_text(None)
