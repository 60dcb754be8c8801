"""Checks of option values, before anything is computed."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .mask import Mask
from .option_names import RENAMED_VALUES
from .option_values import LARGEST, converted, shown

__all__ = ["checked_values"]

MOST_VALUES = 1000  # levels, or GPUs: a longer list is a mistake, and may be too long to be gone through
LARGEST_OF = {"seed": 2**63 - 1, "grid_factor": 64}

CHOICES = {
    "preset": ("default", "paper"),
    "quality": ("fast", "default", "best"),
    "init": ("tv", "sirt", "fbp", "none"),
    "loss": ("auto", "l1", "l2"),
    "pixel_model": ("auto", "area", "point"),
    "center_convention": ("edge", "index"),
    "backend": ("auto", "fourier", "matrix", "astra", "astra_cuda"),
}
WHOLE_NUMBERS = {  # and the least that each may be
    "num_iter": 0,
    "warm_start": 0,
    "warm_iter": 0,
    "reweight_rounds": 0,
    "patience": 0,
    "seed": 0,
    "batch_size": 1,
    "wedge_rounds": 0,
    "grid_factor": 1,
    "joint_slices": 1,
    "uncertainty_samples": 0,
}
NOT_NEGATIVE = ("noise", "tv_weight", "adversarial", "levels_weight")
POSITIVE = (
    "edge_threshold",
    "learning_rate",
    "pixel_rate",
    "discriminator_rate",
    "data_weight",
    "projector_memory",
    "wedge_tv_weight",
)
SWITCHES = ("nonnegative", "network", "trust_theta", "progress")


def checked_values(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options as they are used: numbers as Python's, levels and GPUs as tuples.

    Parameters
    ----------
    values : mapping
        All options by name.
    defaults : mapping
        Their defaults; a number may also be its default, where that is a word or None.

    Raises
    ------
    TypeError
        For a value of the wrong type.
    ValueError
        For a value out of range, or two that contradict each other.
    """
    checked = dict(values)
    for name, allowed in CHOICES.items():
        _check_choice(name, values[name], allowed)
    for name, least in WHOLE_NUMBERS.items():
        checked[name] = _number(name, values[name], defaults[name], least, whole=True)
    for name in NOT_NEGATIVE:
        checked[name] = _number(name, values[name], defaults[name], 0)
    for name in POSITIVE:
        checked[name] = _number(name, values[name], defaults[name], 0, exclusive=True)
    for name in SWITCHES:
        if not isinstance(values[name], bool | np.bool_):
            raise TypeError(f"option {name}={shown(values[name])} must be True or False")
    checked["mask"] = _mask(values["mask"])
    checked["device"] = _device(values["device"])
    if values["gpu_list"] is not None:
        checked["gpu_list"] = _gpus(values["gpu_list"], checked["device"])
    if values["callback"] is not None and not callable(values["callback"]):
        raise TypeError(f"option callback={shown(values['callback'])} must be callable")
    checked["levels"] = _levels(values["levels"])
    checked["max_attenuation"] = _max_attenuation(values)
    return checked


def _check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    if isinstance(value, str) and value in allowed:
        return
    now = RENAMED_VALUES.get(name, {}).get(value) if isinstance(value, str) else None
    hint = f"it is called {now!r} now" if now else f"choose one of {', '.join(map(repr, allowed))}"
    raise ValueError(f"option {name}={shown(value)} is not known; {hint}")


def _number(name: str, value: Any, default: Any, least: int, exclusive: bool = False, whole: bool = False) -> Any:
    if value is None and default is None:
        return value
    if isinstance(value, str) and value == ("auto" if name == "warm_start" else default):
        return value
    kind = numbers.Integral if whole else numbers.Real
    word = "a whole number" if whole else "a number"
    if name == "warm_start":
        also = ", 'auto' or None"
    else:
        also = f", or {default!r}" if isinstance(default, str) or default is None else ""
    largest = LARGEST_OF.get(name, LARGEST[kind])
    limit = f"{'above' if exclusive else 'of at least'} {least}"
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"option {name}={shown(value)} must be {word} {limit}{also}")
    number = converted(value, kind)
    if number > largest:
        raise ValueError(f"option {name}={shown(value)} must be {word} {limit} and at most {largest}{also}")
    if not number >= least or (exclusive and number == least):  # NaN is in no range
        raise ValueError(f"option {name}={shown(value)} must be {word} {limit}{also}")
    return number


def _mask(mask: Any) -> Any:
    if isinstance(mask, Mask | bool) or (isinstance(mask, str) and mask in ("auto", "outline")):
        return mask
    return bool(mask) if isinstance(mask, np.bool_) else Mask(mask)


def _device(device: Any) -> str:
    if isinstance(device, str):
        return device
    try:
        return str(device)
    except Exception:  # as in `shown`
        return shown(device)


def _gpus(gpu_list: Any, device: str) -> tuple[int, ...]:
    gpus = [gpu_list] if isinstance(gpu_list, numbers.Integral) else gpu_list
    good = isinstance(gpus, Sequence) or (isinstance(gpus, np.ndarray) and gpus.ndim == 1)
    good = good and not isinstance(gpus, str | bytes) and 0 < len(gpus) <= MOST_VALUES
    good = good and all(_is_gpu(k) for k in gpus) and len({int(k) for k in gpus}) == len(gpus)
    if not good:
        raise ValueError(
            f"option gpu_list={shown(gpu_list)} must hold the numbers of different GPUs, such as [0, 1], or be None"
        )
    if device not in ("auto", "cuda"):
        raise ValueError(
            f"options gpu_list={shown(gpu_list)} and device={shown(device)} name different devices; give one of them"
        )
    return tuple(int(k) for k in gpus)


def _is_gpu(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Integral) and 0 <= int(value) < 2**31


def _max_attenuation(values: Mapping[str, Any]) -> float | str | None:
    bound = values["max_attenuation"]
    if bound is None:
        return None
    checked = _number("max_attenuation", bound, "auto", 0, exclusive=True)
    if checked != "auto":
        for name, other in (("preset", "paper"), ("nonnegative", False)):
            if values[name] == other:
                raise ValueError(
                    f"option max_attenuation={shown(bound)} does not go with {name}={other!r}; leave one out"
                )
    return checked


def _levels(levels: Any) -> Any:
    if levels is None or (isinstance(levels, str) and levels == "auto"):
        return levels
    try:
        values = np.asarray(levels if len(levels) <= MOST_VALUES else np.nan, np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.asarray(np.nan)
    if values.ndim != 1 or values.size < 2 or not (np.abs(values) <= LARGEST[numbers.Real]).all():  # NaN is in no range
        raise ValueError(
            f"option levels={shown(levels)} must be None, 'auto' or at least two finite grey levels (at most "
            f"{MOST_VALUES}), in attenuation per pixel"
        )
    return tuple(sorted(float(v) for v in values))
