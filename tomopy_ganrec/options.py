"""Every setting of a reconstruction, checked before anything is computed."""

import difflib
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

__all__ = ["GanrecOptions", "grid_size", "real_numbers", "shown"]

LARGEST = {numbers.Integral: 2**31 - 1, numbers.Real: 3e38}  # what counts of something, and numbers in float32, may be
MANY = 1000  # levels, or GPUs: a longer list is a mistake, and may be too long to be gone through
_LARGEST_OF = {"seed": 2**63 - 1, "grid_factor": 64}

# Keywords that TomoPy itself passes to a callable algorithm or documents for its own; they do not concern this one.
TOMOPY_KEYWORDS = frozenset(
    (
        "filter_name",
        "filter_par",
        "num_block",
        "ind_block",
        "reg_par",
        "reg_data",
        # the GPU versions of mlem and sirt; their `device` is an option here
        "accelerated",
        "pool_size",
        "interpolation",
        "grid_size",
        "block_size",
        # tomopy.astra; its `num_iter` and `gpu_list` are options here
        "method",
        "proj_type",
        "extra_options",
        # tomopy.lprec
        "lpmethod",
        "interp_type",
        "filter_type",
    )
)

# The names that options had while 0.1.0 was written, and their names now; and values likewise.
RENAMED = {
    "strength": "tv_weight",
    "epsilon": "edge_threshold",
    "along": "wedge_tv_weight",
    "reweight": "reweight_rounds",
    "learn": "wedge_rounds",
    "refine": "grid_factor",
    "stack": "joint_slices",
    "spread": "uncertainty_samples",
    "pixels": "pixel_model",
}
RENAMED_VALUES = {"pixel_model": {"mean": "area", "box": "point"}}

_CHOICES = {
    "preset": ("default", "paper"),
    "quality": ("fast", "default", "best"),
    "init": ("tv", "sirt", "fbp", "none"),
    "loss": ("auto", "l1", "l2"),
    "pixel_model": ("auto", "area", "point"),
    "center_convention": ("edge", "index"),
    "backend": ("auto", "fourier", "matrix", "astra", "astra_cuda"),
}


def renamed_options(options: Mapping) -> dict:
    """A dictionary of options, such as one kept in a file, with the names and values that they have now (`RENAMED`)."""
    names = {RENAMED.get(name, name): value for name, value in options.items()}
    for name, values in RENAMED_VALUES.items():
        if isinstance(names.get(name), str):
            names[name] = values.get(names[name], names[name])
    return names


def nearest_option(name, known: Sequence[str]) -> str | None:
    """The option that was probably meant by a `name` that is not one of the `known` options."""
    if not isinstance(name, str):
        return None
    if RENAMED.get(name) in known:
        return RENAMED[name]
    near = difflib.get_close_matches(name, [*known, *RENAMED], n=1)
    return RENAMED.get(near[0], near[0]) if near else None


def shown(value) -> str:
    """A value for a message: as Python writes it, but short, and whatever it is."""
    try:
        text = " ".join(repr(value).split())  # of an array: in one line
    except (
        Exception
    ):  # a whole number of more than 4300 digits is a ValueError, and a stranger's object may raise anything
        return f"<{'a number of very many digits' if isinstance(value, int) else type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def real_numbers(value, dtype, name: str, wanted: str) -> np.ndarray:
    """`value` as an array of real numbers; what `dtype` cannot hold becomes infinite.

    Raises
    ------
    ValueError
        For what holds no real numbers; the message asks for what is `wanted`.
    """
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "cmM":  # complex numbers and times
            with np.errstate(over="ignore"):
                return found.astype(dtype, copy=False)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name}={shown(value)} holds no real numbers; give {wanted}")


def grid_size(columns: int, num_gridx=None, num_gridy=None) -> tuple[int, int]:
    """Rows and columns of a slice: as given, or as many as the detector's `columns`.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For what is no whole number from 1 to 2³¹ − 1.
    """
    return _side("num_gridx", num_gridx, columns), _side("num_gridy", num_gridy, columns)


def _side(name: str, value, default: int) -> int:
    if value is None:
        return int(default)
    told = f"{name}={shown(value)}: a slice needs at least one row and one column; give a whole number, or None for the detector's columns"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(told)
    number = _converted(value, numbers.Integral if isinstance(value, numbers.Integral) else numbers.Real)
    if not 1 <= number <= LARGEST[numbers.Integral] or number != int(number):  # NaN is in no range
        raise ValueError(told)
    return int(number)


def _converted(value, kind) -> int | float:
    """A number of NumPy's, or of whatever kind, as Python's; what no float holds becomes infinite."""
    if kind is numbers.Integral:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _unwrapped(value):
    """What a zero-dimensional array holds; anything else as it is."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


@dataclass(frozen=True)
class GanrecOptions:
    """Settings of a reconstruction; what you leave out works.

    Attributes
    ----------
    preset : {'default', 'paper'}
        'default': a classical start image, refined by a generator that adds to it, total variation and a discriminator. 'paper': the
        network, losses and normalisation of X. Yang et al., J. Synchrotron Rad. 27, 486 (2020), then scaled back to attenuation.
    quality : {'fast', 'default', 'best'}
        What may be spent: it sets `num_iter`, `reweight_rounds`, `wedge_rounds` and `grid_factor` where they are left open. 'fast': 4 rounds of
        reweighting and no fit, about half of the default's time. 'best': also a network learned from the scan (`wedge_rounds`) and a finer
        grid (`grid_factor`), many times the default's time; for wedges of 120° and less.
    num_iter : int or None, >= 0
        Iterations of the fit, at most (`patience`); None: 50, with `levels` or another `init` than 'tv' 100, with 'paper' 1000, and 0 with 'fast',
        `wedge_rounds` or `joint_slices`. 0 returns the start image.
    warm_start : int, 'auto' or None, >= 0
        Reconstruct one slice of so many from nothing, and those between from their neighbours' images at a quarter of the cost. 0 or 1: all from
        nothing. 'auto': by how much the sinograms of neighbours differ, at most 16. A slice that its neighbours do not explain is started from
        nothing anyhow. None: 'auto' in `tomopy_ganrec.recon`, 0 inside ``tomopy.recon``, where a chunk does not know the others. Not with
        `joint_slices`. With 'paper' the networks' weights go from slice to slice instead, in chains of so many (32).
    warm_iter : int or None, >= 0
        Iterations of the fit for slices that start warm. None: 25, with `levels` or another `init` 50, with 'paper' 100.
    init : {'tv', 'sirt', 'fbp', 'none'}
        The start image. 'none': the given ``init_recon``, or the mean attenuation everywhere (zero with ``nonnegative=False``).
    reweight_rounds : int or None, >= 0
        Rounds of edge reweighting of the total variation in the start image; if not 0, the fit goes on reweighting. 0: plain total variation.
        None: 8 ('fast': 4).
    pixel_model : {'auto', 'area', 'point'}
        What a pixel is. 'area': the mean of the object over its area, as with every real sample; the projector is corrected for it
        (`response.pixel_response`), and what structure below the pixel leaves in the data is weighed as the error it is. 'point': the object is
        constant in each pixel, as in data simulated from an image. 'auto' takes the one that explains the data better; a start other than
        'tv' means 'point'.
    wedge_rounds : int or None, >= 0
        Rounds in which a network learns from the scan itself what its missing wedge does (`learned.learn`), and repairs the image. None: 0
        ('best': 3).
    grid_factor : int or None, >= 1
        Reconstruct on a grid so many times finer (at most 64) and return the mean over each pixel. None: 1 ('best': 2 where there is little noise).
    wedge_tv_weight : float or None, > 0
        Weight of the total variation's derivative along the missing frequencies. Below 1 edges stand that no projection has seen. None: 0.7
        for ranges of 80° and more with little noise, else 1.
    joint_slices : int, >= 1
        Neighbouring slices, in order, that are solved together, with total variation across slices too, and one network for all of them
        (`wedge_rounds`). 1: each on its own. Much less noise in objects that change little from slice to slice. It takes the place of `batch_size`.
    uncertainty_samples : int, >= 0
        Reconstructions over which the standard deviation of each pixel is found (`fit.uncertainty`), in the record that ``return_info=True`` gives:
        ``slices[k]['uncertainty']``. 0: none; 8 take about the time of a default reconstruction.
    noise : float or 'auto', >= 0
        Standard deviation of the data, in their units (line integrals). 'auto' reads it off the sinogram. It sets what is not given of
        `tv_weight`, `edge_threshold` and `loss`.
    tv_weight : float or None, >= 0
        λ of the total variation, relative to the scale of the data; None: from the noise. More removes more noise, and detail.
    edge_threshold : float or None, > 0
        Gradient that counts as an edge, relative to the image's 99.8th percentile; None: from the noise, 0.04 to 0.12.
    loss : {'auto', 'l1', 'l2'}
        Of the data in the fit. 'l1', half-ramp filtered, is better for clean data, 'l2' for noisy ones and for plain total variation; 'auto'
        decides.
    nonnegative : bool
        Attenuation is not below 0. Turn off for phase tomograms.
    mask : bool
        Nothing lies outside the disc that the detector sees in a full turn. Turn off for a sample wider than the detector.
    levels : None, 'auto' or sequence of float
        Grey levels of a segmented material in attenuation per pixel, or 'auto' to find them. None (default) assumes nothing: levels help a lot
        where they exist; 'auto' leaves alone, with a warning, what has none.
    network : bool
        False leaves only the free pixels of the generator: a control.
    adversarial : float, >= 0
        Weight of the discriminator's verdict in the generator's loss; 0: no discriminator, a control. With 'paper' the weight is 1 unless 0.
    learning_rate, pixel_rate, discriminator_rate : float or None, > 0
        Adam steps of the generator's weights, of its free pixels (relative to the scale of the data) and of the discriminator. None: the
        preset's own.
    levels_weight : float, >= 0
        Weight of the levels.
    data_weight : float, > 0
        'paper' only: λ of the L1 term beside the cross entropy.
    patience : int, >= 0
        A slice is done when its objective has fallen by less than 0.05 % in this many iterations of the fit; 0: never. From a fall of 0.06 % to one
        of 0.04 % the iterates that follow count less and less, so that rounding does not decide.
    seed : int, >= 0
        Of the networks' initial weights. The same call on the same machine with the same threads repeats a result bit for bit.
    batch_size : int or 'auto', >= 1
        Slices fitted at once. 'auto': as many as the free memory holds, 8 on a CPU and 32 on a GPU at most. With default options a slice is the same
        to 1e-4 (‖difference‖/‖slice‖) in any batch, with any number of threads and on any CPU.
    device : str
        'auto' (a CUDA GPU if there is one), 'cpu', 'cuda', 'cuda:1'; as a keyword or in a dictionary also TomoPy's 'gpu', which is 'auto'.
    gpu_list : sequence of int, optional
        GPUs that share the slices, as for ``tomopy.astra``: ``[0, 1]``.
    backend : {'auto', 'fourier', 'matrix', 'astra', 'astra_cuda'}
        Of the projector; see `ParallelBeamProjector`.
    projector_memory : float, > 0
        Bytes the projector may take before 'auto' turns to ASTRA; on a GPU no more than a quarter of its memory. 5e9 hold 2048² pixels from 1500
        angles on a CPU.
    center_convention : {'edge', 'index'}
        'edge': ``tomopy.recon``'s own default centre is the middle of the detector, columns / 2. 'index': a centre from
        ``tomopy.find_center*``, which counts from the middle of the first column: half a pixel is added.
    trust_theta : bool
        Take the angles as they are: no check that tells degrees from radians. For scans of less than some 6 degrees.
    progress : bool
        Show a progress bar.
    callback : callable or None
        Called with a `Status` after each iteration; a true answer ends the fit early, keeping what it has.
    """

    preset: str = "default"
    num_iter: int | None = None
    quality: str = "default"
    warm_start: int | str | None = None
    warm_iter: int | None = None
    init: str = "tv"
    reweight_rounds: int | None = None
    pixel_model: str = "auto"
    wedge_rounds: int | None = None
    grid_factor: int | None = None
    wedge_tv_weight: float | None = None
    joint_slices: int = 1
    uncertainty_samples: int = 0
    noise: float | str = "auto"
    tv_weight: float | None = None
    edge_threshold: float | None = None
    loss: str = "auto"
    nonnegative: bool = True
    mask: bool = True
    levels: Any = None
    network: bool = True
    adversarial: float = 0.1
    learning_rate: float | None = None
    pixel_rate: float | None = None
    discriminator_rate: float | None = None
    levels_weight: float = 2.0
    data_weight: float = 100.0
    patience: int = 25
    seed: int = 0
    batch_size: int | str = "auto"
    device: str = "auto"
    gpu_list: Any = None
    backend: str = "auto"
    projector_memory: float = 5e9
    center_convention: str = "edge"
    trust_theta: bool = False
    progress: bool = False
    callback: Callable | None = None

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                now = RENAMED_VALUES.get(name, {}).get(value) if isinstance(value, str) else None
                hint = f"it is called {now!r} now" if now else f"choose one of {', '.join(map(repr, allowed))}"
                raise ValueError(f"option {name}={shown(value)} is not known; {hint}")
        for name, at_least in (
            ("num_iter", 0),
            ("warm_start", 0),
            ("warm_iter", 0),
            ("reweight_rounds", 0),
            ("patience", 0),
            ("seed", 0),
            ("batch_size", 1),
            ("wedge_rounds", 0),
            ("grid_factor", 1),
            ("joint_slices", 1),
            ("uncertainty_samples", 0),
        ):
            self._check_number(name, numbers.Integral, at_least)
        for name in ("noise", "tv_weight", "adversarial", "levels_weight"):
            self._check_number(name, numbers.Real, 0)
        for name in (
            "edge_threshold",
            "learning_rate",
            "pixel_rate",
            "discriminator_rate",
            "data_weight",
            "projector_memory",
            "wedge_tv_weight",
        ):
            self._check_number(name, numbers.Real, 0, exclusive=True)
        for name in ("nonnegative", "mask", "network", "trust_theta", "progress"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"option {name}={shown(value)} must be True or False")
        if not isinstance(self.device, str):
            try:
                device = str(self.device)
            except Exception:  # as in `shown`
                device = shown(self.device)
            object.__setattr__(self, "device", device)
        if self.gpu_list is not None:
            object.__setattr__(self, "gpu_list", self._checked_gpus())
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"option callback={shown(self.callback)} must be callable")
        self._check_levels()

    def _check_number(self, name, kind, minimum, exclusive=False):
        value = getattr(self, name)
        default = type(self).__dataclass_fields__[name].default
        if value is None and default is None:
            return
        if isinstance(value, str) and value == ("auto" if name == "warm_start" else default):
            return
        word = "a whole number" if kind is numbers.Integral else "a number"
        also = (
            ", 'auto' or None"
            if name == "warm_start"
            else f", or {default!r}"
            if isinstance(default, str) or default is None
            else ""
        )
        largest = _LARGEST_OF.get(name, LARGEST[kind])
        limit = f"{'above' if exclusive else 'of at least'} {minimum}"
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"option {name}={shown(value)} must be {word} {limit}{also}")
        number = _converted(value, kind)
        if number > largest:
            raise ValueError(f"option {name}={shown(value)} must be {word} {limit} and at most {largest}{also}")
        if not number >= minimum or (exclusive and number == minimum):  # NaN is in no range
            raise ValueError(f"option {name}={shown(value)} must be {word} {limit}{also}")
        object.__setattr__(self, name, number)

    def _checked_gpus(self) -> tuple[int, ...]:
        gpus = [self.gpu_list] if isinstance(self.gpu_list, numbers.Integral) else self.gpu_list
        good = isinstance(gpus, Sequence) or isinstance(gpus, np.ndarray) and gpus.ndim == 1
        good = (
            good
            and 0 < len(gpus) <= MANY
            and all(isinstance(k, numbers.Integral) and not isinstance(k, bool) and 0 <= k < 2**31 for k in gpus)
        )
        if not good or isinstance(gpus, str | bytes) or len(set(map(int, gpus))) < len(gpus):
            raise ValueError(
                f"option gpu_list={shown(self.gpu_list)} must hold the numbers of different GPUs, such as [0, 1], or be None"
            )
        if self.device not in ("auto", "cuda"):
            raise ValueError(
                f"options gpu_list={shown(self.gpu_list)} and device={shown(self.device)} name different devices; give one of them"
            )
        return tuple(int(k) for k in gpus)

    def _check_levels(self):
        if self.levels is None or isinstance(self.levels, str) and self.levels == "auto":
            return
        try:
            values = np.asarray(self.levels if len(self.levels) <= MANY else np.nan, np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.asarray(np.nan)
        if (
            values.ndim != 1 or values.size < 2 or not (np.abs(values) <= LARGEST[numbers.Real]).all()
        ):  # NaN is in no range
            raise ValueError(
                f"option levels={shown(self.levels)} must be None, 'auto' or at least two finite grey levels (at most {MANY}), in "
                "attenuation per pixel"
            )
        object.__setattr__(self, "levels", tuple(sorted(float(v) for v in values)))

    @property
    def iterations(self) -> int:
        """Iterations of the fit."""
        if self.num_iter is not None:
            return self.num_iter
        if self.preset == "paper":
            return 1000
        if self.quality == "fast" or self.lessons or self.joint_slices > 1:
            return 0
        return 50 if self.init == "tv" and self.levels is None else 100

    @property
    def warm_iterations(self) -> int:
        """Iterations of the fit of a slice that begins at its neighbours' image."""
        if self.warm_iter is not None:
            return self.warm_iter
        if self.preset == "paper":
            return min(100, self.iterations)
        return min(25 if self.levels is None and self.init == "tv" else 50, self.iterations)

    @property
    def rounds(self) -> int:
        """Rounds of edge reweighting."""
        return self.reweight_rounds if self.reweight_rounds is not None else 4 if self.quality == "fast" else 8

    @property
    def across(self) -> float:
        """Weight of the total variation's derivative across the slices of a stack."""
        return 1.0 if self.joint_slices > 1 else 0.0

    @property
    def lessons(self) -> int:
        """Rounds of learning from the scan."""
        return self.wedge_rounds if self.wedge_rounds is not None else 3 if self.quality == "best" else 0

    @classmethod
    def from_mapping(cls, *mappings: Mapping | None) -> "GanrecOptions":
        """Options from dictionaries, later ones before earlier ones, as TomoPy's users and TomoPy itself give them.

        The names of `TOMOPY_KEYWORDS` are passed over, ``device='gpu'`` is TomoPy's word for a GPU if there is one (``'auto'`` here), and a
        zero-dimensional array means the value that it holds.

        Raises
        ------
        TypeError
            For an unknown name (the nearest known one is given), or a value of the wrong type.
        ValueError
            For a value out of range.
        """
        known = [f.name for f in fields(cls)]
        values: dict[str, Any] = {}
        for mapping in mappings:
            mapping = _unwrapped(mapping)
            if mapping is None:
                continue
            if not isinstance(mapping, Mapping):
                raise TypeError(
                    f"options must be a dictionary of option names and values, not {type(mapping).__name__}"
                )
            for name, value in mapping.items():
                value = _unwrapped(value)
                if name in known:
                    values[name] = "auto" if name == "device" and isinstance(value, str) and value == "gpu" else value
                elif name not in TOMOPY_KEYWORDS:
                    near = nearest_option(name, known)
                    hint = f"did you mean {near!r}?" if near else f"known are {', '.join(known)}"
                    raise TypeError(f"unknown option {shown(name)}: {hint}")
        return cls(**values)

    def replace(self, **changes) -> "GanrecOptions":
        """A copy with some values changed, checked again."""
        return replace(self, **changes)
