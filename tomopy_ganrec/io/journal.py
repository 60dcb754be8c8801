"""What has been finished, one line of JSON at a time, so that a run that was killed goes on where it stopped."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from tomopy_ganrec.option_names import renamed_options
from tomopy_ganrec.option_values import shown
from tomopy_ganrec.slice_record import renamed_record

from .atomic_files import replacing

__all__ = ["Journal", "differences", "plain"]

VERSION = 1
# Of what is read of a record, where it has that.
_KINDS = {"center": int | float, "residual": int | float, "seconds": dict, "device": str, "backend": str}
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
    return {
        inner: text
        for key, part in value.items()
        for inner, text in _flat(part, f"{name}.{key}" if name else str(key)).items()
    }


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
        with replacing(self.path) as file:
            file.write(line)
        self._end = len(line)

    def read(self):
        """The header (None where there is no journal, or no whole first line) and a dict of the records of the finished slices.

        Raises
        ------
        ValueError
            For a line that no kill has torn, but whose values cannot be: it was not written by `append`.
        """
        header, finished, self._end = None, {}, 0
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end is torn, or nothing
        except FileNotFoundError:
            return None, finished
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if header is None:
                    header = self._header(entry)
                else:
                    finished.update(self._entry(entry))
            except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError):
                break
            except (ValueError, RecursionError, OverflowError) as error:
                reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                raise ValueError(
                    f"{self.path} is damaged in line {number} ({reason}): nobody knows how far its output is; delete both, and begin anew"
                ) from error
            self._end += len(line) + 1
        return header, finished

    @staticmethod
    def _header(entry: dict) -> dict:
        shape, first = entry["shape"], entry.get("first", 0)
        if len(shape) != 3:
            raise KeyError("shape")
        if not all(type(n) is int for n in (*shape, first)):
            raise ValueError(f"its shape is {shown(shape)}, its first slice {shown(first)}: not whole numbers")
        identity = entry.get("identity")
        if isinstance(identity, dict) and isinstance(identity.get("options"), dict):  # begun under earlier names
            entry = {**entry, "identity": {**identity, "options": renamed_options(identity["options"])}}
        return {**entry, "shape": list(shape), "first": first}

    @staticmethod
    def _entry(entry: dict) -> dict:
        """The records by slice of a line. One that is torn may lack anything, but has no values of a wrong type."""
        slices, records = entry["slices"], entry["records"]
        if not isinstance(slices, list) or not all(type(k) is int for k in slices):
            raise ValueError(f"its slices are {shown(slices)}, not whole numbers")
        if not isinstance(records, list) or len(records) != len(slices):
            raise ValueError(f"it does not have one record for each of {len(slices)} slices")
        for record in records:
            if not isinstance(record, dict | None):
                raise ValueError(f"the record of a slice is {shown(record)}")
            for name, kind in _KINDS.items():
                value = (record or {}).get(name)
                if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                    raise ValueError(f"the {name} of a slice is {shown(value)}")
            if not all(isinstance(value, int | float) for value in ((record or {}).get("seconds") or {}).values()):
                raise ValueError(f"the seconds of a slice are {shown(record['seconds'])}")
        return {k: record and renamed_record(record) for k, record in zip(slices, records, strict=True)}

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
