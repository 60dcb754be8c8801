"""Journal of finished slices, one line of JSON at a time, from which a run that was killed is resumed."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tomopy_ganrec.option_names import ADDED, renamed_options
from tomopy_ganrec.option_values import shown
from tomopy_ganrec.slice_record import renamed_record

from .atomic_files import replacing
from .protocols import Record

__all__ = ["Journal", "differences", "plain"]

VERSION = 1
# Types of the values of a record that are used when it is read, if it has them.
_RECORD_TYPES = {"center": int | float, "residual": int | float, "seconds": dict, "device": str, "backend": str}
_ABSENT = object()
LONGEST_VALUE = 60  # characters of a value in a message


def plain(value: Any, hash_arrays: bool = False) -> Any:
    """`value` as JSON keeps it: dictionaries with text as keys, lists, numbers (NaN and infinity too), text and None.

    Numbers of NumPy and torch become Python's. Arrays, and dictionaries that hold nothing but arrays, are left out, or
    with `hash_arrays` become a SHA-256 of shape, type and content; anything else becomes its text.
    """
    converted = _plain(value, hash_arrays)
    return None if converted is _ABSENT else converted


def _plain(value: Any, hash_arrays: bool) -> Any:
    """As `plain`, but `_ABSENT` for what is left out."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if len(value.shape) == 0:
            return _plain(value.item(), hash_arrays)
        if not hash_arrays:
            return _ABSENT
        array = np.ascontiguousarray(value)
        return hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()
    if isinstance(value, dict):
        converted = {str(name): _plain(part, hash_arrays) for name, part in value.items()}
        kept = {name: part for name, part in converted.items() if part is not _ABSENT}
        return kept if kept or not value else _ABSENT
    if isinstance(value, list | tuple):
        return [part for part in (_plain(element, hash_arrays) for element in value) if part is not _ABSENT]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """``{'options': {'num_iter': 3}}`` as ``{'options.num_iter': '3'}``."""
    if not isinstance(value, dict) or not value:
        return {name: json.dumps(value, sort_keys=True)}
    return {
        inner: text
        for key, part in value.items()
        for inner, text in _flat(part, f"{name}.{key}" if name else str(key)).items()
    }


def _short(text: str | None) -> str:
    if text is None:
        return "not given"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences of two (nested) dictionaries of JSON, in words.

    ``'options.num_iter: 100 before, 50 now'``; of two hashes only that the data differ.
    """
    old_texts, new_texts = _flat(before), _flat(now)
    changes = []
    for name in [*old_texts, *(name for name in new_texts if name not in old_texts)]:
        old, new = old_texts.get(name), new_texts.get(name)
        if old == new:
            continue
        if all(text is not None and re.fullmatch('"[0-9a-f]{64}"', text) for text in (old, new)):
            name = name.removesuffix("sha256").rstrip(".")
            changes.append(f"{name}: the data differ" if name else "the data differ")
        else:
            changes.append(f"{name}: {_short(old)} before, {_short(new)} now")
    return changes


class Journal:
    """A file whose first line says what is computed, and each later one which slices are finished, with their records.

    A line that was torn by a kill is ignored in reading, and the next line is written over it.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path):
        self.path, self._end = path, 0

    @staticmethod
    def header(identity: Mapping[str, Any], shape: Sequence[int], first: int) -> dict[str, Any]:
        """The first line."""
        return {"identity": plain(identity, hash_arrays=True), "shape": list(shape), "first": first, "version": VERSION}

    def start(self, header: Mapping[str, Any]) -> None:
        """Begin from scratch, in place of an earlier journal."""
        line = json.dumps(header).encode() + b"\n"
        with replacing(self.path) as file:
            file.write(line)
        self._end = len(line)

    def read(self) -> tuple[dict[str, Any] | None, dict[int, Record | None]]:
        """Read the journal; names of options and of values that were used earlier become those of today.

        Returns
        -------
        header : dict or None
            None where there is no journal, or no complete first line.
        finished : dict of int to dict
            The records of the finished slices.

        Raises
        ------
        ValueError
            For a line that no kill has torn, but whose values cannot be: it was not written by `append`.
        """
        header: dict[str, Any] | None = None
        finished: dict[int, Record | None] = {}
        self._end = 0
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end is torn, or nothing
        except FileNotFoundError:
            return None, finished
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if header is None:
                    header = self._parsed_header(entry)
                else:
                    finished.update(self._parsed_entry(entry))
            except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError):
                break
            except (ValueError, RecursionError, OverflowError) as error:
                reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                raise ValueError(
                    f"{self.path} is damaged in line {number} ({reason}): nobody knows how far its output is; delete "
                    "both, and begin anew"
                ) from error
            self._end += len(line) + 1
        return header, finished

    @staticmethod
    def _parsed_header(entry: dict[str, Any]) -> dict[str, Any]:
        """The first line, checked, with the names that options have now."""
        shape, first = entry["shape"], entry.get("first", 0)
        if len(shape) != 3:
            raise KeyError("shape")
        if not all(type(n) is int for n in (*shape, first)):
            raise ValueError(f"its shape is {shown(shape)}, its first slice {shown(first)}: not whole numbers")
        identity = entry.get("identity")
        if isinstance(identity, dict) and isinstance(identity.get("options"), dict):
            options = renamed_options(identity["options"])
            if "pixel_model" in options:  # the options of a reconstruction
                options = ADDED | options
            entry = {**entry, "identity": {**identity, "options": options}}
        return {**entry, "shape": list(shape), "first": first}

    @staticmethod
    def _parsed_entry(entry: dict[str, Any]) -> dict[int, Record | None]:
        """The records by slice of a later line, checked, with the names that their values have now.

        A torn line may lack anything, but has no values of a wrong type.
        """
        slices, records = entry["slices"], entry["records"]
        if not isinstance(slices, list) or not all(type(k) is int for k in slices):
            raise ValueError(f"its slices are {shown(slices)}, not whole numbers")
        if not isinstance(records, list) or len(records) != len(slices):
            raise ValueError(f"it does not have one record for each of {len(slices)} slices")
        for record in records:
            if not isinstance(record, dict | None):
                raise ValueError(f"the record of a slice is {shown(record)}")
            known = record or {}
            for name, expected in _RECORD_TYPES.items():
                value = known.get(name)
                if value is not None and (isinstance(value, bool) or not isinstance(value, expected)):
                    raise ValueError(f"the {name} of a slice is {shown(value)}")
            seconds = known.get("seconds") or {}
            if not all(isinstance(value, int | float) for value in seconds.values()):
                raise ValueError(f"the seconds of a slice are {shown(seconds)}")
        return {k: record and renamed_record(record) for k, record in zip(slices, records, strict=True)}

    def cut(self) -> None:
        """Cut off the end that `read` found torn."""
        with open(self.path, "r+b") as file:
            file.truncate(self._end)

    def append(self, slices: Sequence[int], records: Sequence[Record]) -> None:
        """Enter slices as finished; on the disk when this returns.

        After a failure, such as a full disk, the journal counts as it was before.
        """
        line = json.dumps({"slices": [int(k) for k in slices], "records": records}).encode() + b"\n"
        with open(self.path, "r+b") as file:
            file.seek(self._end)
            file.truncate()
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._end += len(line)
