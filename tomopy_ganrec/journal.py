"""What has been finished, one line of JSON at a time, so that a run that was killed goes on where it stopped."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

__all__ = ["Journal", "differences", "plain", "replace_file"]

VERSION = 1
_ABSENT = object()


def plain(value, hash_arrays: bool = False):
    """`value` as JSON keeps it: dictionaries with text as keys, lists, Python's numbers (NaN and infinity too), text and None.

    Numbers of NumPy and torch become Python's; arrays, and dictionaries that hold nothing but arrays, are left out, or with `hash_arrays` become a
    SHA-256 of shape, type and content; anything else becomes its text.
    """
    found = _plain(value, hash_arrays)
    return None if found is _ABSENT else found


def _plain(value, hash_arrays):
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if len(value.shape) == 0:
            return _plain(value.item(), hash_arrays)
        if not hash_arrays:
            return _ABSENT
        array = np.ascontiguousarray(value)
        return hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()
    if isinstance(value, dict):
        found = {str(name): _plain(part, hash_arrays) for name, part in value.items()}
        kept = {name: part for name, part in found.items() if part is not _ABSENT}
        return kept if kept or not value else _ABSENT
    if isinstance(value, list | tuple):
        return [part for part in (_plain(v, hash_arrays) for v in value) if part is not _ABSENT]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _flat(value, name: str = "") -> dict:
    """``{'options': {'num_iter': 3}}`` as ``{'options.num_iter': '3'}``."""
    if not isinstance(value, dict) or not value:
        return {name: json.dumps(value, sort_keys=True)}
    return {inner: text for key, part in value.items() for inner, text in _flat(part, f"{name}.{key}" if name else str(key)).items()}


def differences(before, now) -> list[str]:
    """What changed between two (nested) dictionaries of JSON: ``'options.num_iter: 100 before, 50 now'``; of two hashes only that they differ."""
    before, now, found = _flat(before), _flat(now), []

    def short(text):
        return "not given" if text is None else text if len(text) <= 60 else text[:57] + "..."

    for name in [*before, *(n for n in now if n not in before)]:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if all(text is not None and re.fullmatch('"[0-9a-f]{64}"', text) for text in (old, new)):
            name = name.removesuffix("sha256").rstrip(".")
            found.append(f"{name}: the data differ" if name else "the data differ")
        else:
            found.append(f"{name}: {short(old)} before, {short(new)} now")
    return found


def replace_file(temporary: Path, path: Path) -> None:
    """Put a finished file, written beside `path`, in its place: readers see the whole of it or nothing, even after a power failure."""
    with open(temporary, "r+b") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


class Journal:
    """A file whose first line says what is being computed and each later one which slices are finished, with their records.

    A line that was torn by a kill is not there for a reader, and the next line is written over it.
    """

    def __init__(self, path: Path):
        self.path, self._end = path, 0

    @staticmethod
    def header(identity: dict, shape, first: int) -> dict:
        """The first line."""
        return {"identity": plain(identity, hash_arrays=True), "shape": list(shape), "first": first, "version": VERSION}

    def start(self, header: dict) -> None:
        """Begin anew, in place of an earlier journal."""
        line = json.dumps(header).encode() + b"\n"
        temporary = self.path.with_name(f".{self.path.name}.part")
        temporary.write_bytes(line)
        replace_file(temporary, self.path)
        self._end = len(line)

    def read(self):
        """The header (None where there is no journal, or no whole first line) and a dict of the records of the finished slices."""
        header, finished, self._end = None, {}, 0
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end is torn, or nothing
        except FileNotFoundError:
            return None, finished
        for line in lines:
            try:
                entry = json.loads(line)
                if header is None:
                    slices, rows, cols = (int(n) for n in entry["shape"])
                    header = {**entry, "shape": [slices, rows, cols], "first": int(entry.get("first", 0))}
                else:
                    finished.update(dict(zip((int(k) for k in entry["slices"]), entry["records"], strict=True)))
            except (ValueError, TypeError, KeyError):
                break
            self._end += len(line) + 1
        return header, finished

    def cut(self) -> None:
        """Cut off what `read` found torn."""
        with open(self.path, "r+b") as file:
            file.truncate(self._end)

    def append(self, slices, records) -> None:
        """Enter slices as finished; returns when it is on the disk. After a failure, such as a full disk, the journal is as it was."""
        line = json.dumps({"slices": [int(k) for k in slices], "records": records}).encode() + b"\n"
        with open(self.path, "r+b") as file:
            file.seek(self._end)
            file.truncate()
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._end += len(line)
