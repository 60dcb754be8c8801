"""Options of a reconstruction, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from .option_checks import checked_values
from .option_names import TOMOPY_KEYWORDS, nearest_option
from .option_values import shown, unwrapped

if TYPE_CHECKING:
    import numpy as np

    from .mask import Mask
    from .results import Status

__all__ = ["ExecutionOptions", "FitOptions", "GanrecOptions", "ResolvedOptions"]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options that decide what the reconstruction is.

    Attributes
    ----------
    preset : {'default', 'paper'}
        'default': a classical start image, to which a generator adds a correction, with total variation and a
        discriminator. 'paper': the network, losses and normalisation of X. Yang et al., J. Synchrotron Rad. 27, 486
        (2020), scaled back to attenuation.
    quality : {'fast', 'default', 'best'}
        The compute budget: it sets `num_iter`, `reweight_rounds`, `wedge_rounds` and `grid_factor` where they are left
        open. 'fast': 4 rounds of reweighting and no adversarial fit, about half of the default's time. 'best': also a
        network learned from the scan (`wedge_rounds`) and a finer grid (`grid_factor`), many times the default's time;
        for angular ranges of 120° and less.
    num_iter : int or None, >= 0
        Iterations of the adversarial fit, at most (see `patience`); None: 50; 100 with `levels` or an `init` other than
        'tv'; 1000 with 'paper'; 0 with 'fast', `wedge_rounds` or `joint_slices`. 0 returns the start image.
    warm_iter : int or None, >= 0
        Iterations of the fit for slices with a warm start. None: 25; 50 with `levels` or another `init`; 100 with
        'paper'.
    init : {'tv', 'sirt', 'fbp', 'none'}
        The start image. 'none': the given ``init_recon``, or the mean attenuation everywhere (zero with
        ``nonnegative=False``).
    reweight_rounds : int or None, >= 0
        Rounds of edge reweighting of the total variation in the start image; if not 0, the fit goes on reweighting. 0:
        plain total variation. None: 8 ('fast': 4).
    pixel_model : {'auto', 'area', 'point'}
        What the value of a pixel stands for. 'area': the mean of the object over the pixel's area, as with every real
        sample; the projector is corrected for it (`fit.measurement.pixel_response`), and what structure below the pixel
        leaves in the data is weighted as a model error. 'point': the object is constant in each pixel, as in data
        simulated from an image. 'auto' takes the one to whose reconstruction the data are nearer, area means where
        noise hides it; an `init` other than 'tv' means 'point'.
    wedge_rounds : int or None, >= 0
        Rounds in which a network learns from the scan itself what its missing wedge does (`fit.wedge_learning`), and
        repairs the image as far as it repairs copies on which it was not trained, or not at all. The slices of a batch
        share the network (`batch_size`). None: 0 ('best': 2).
    grid_factor : int or None, >= 1
        Reconstruct on a grid this many times finer (at most 64) and return the mean over each pixel. None: 1 ('best': 2
        where there is little noise).
    wedge_tv_weight : float or None, > 0
        Weight of the total variation's derivative along the missing frequencies. Below 1, edges that no projection has
        seen are smoothed less. None: 0.7 for angular ranges of 80° and more with little noise, else 1.
    joint_slices : int, >= 1
        Number of neighbouring slices, in order, that are solved jointly, with total variation across slices too; 1:
        none. Much less noise where little changes from slice to slice. It takes the place of `batch_size`.
    uncertainty_samples : int, >= 0
        Number of reconstructions from which the standard deviation of each pixel is estimated (`fit.uncertainty`), such
        that about two thirds of the object's pixels are nearer to the truth; it is ``slices[k]['uncertainty']`` in the
        record that ``return_info=True`` gives. 0: none; 8 take two to three times as long as a default reconstruction.
    noise : float or 'auto', >= 0
        Standard deviation of the data, in their units (line integrals). 'auto' estimates it from the sinogram. It sets
        those of `tv_weight`, `edge_threshold` and `loss` that are left open.
    tv_weight : float or None, >= 0
        λ of the total variation, relative to the data's scale; None: from the noise. More removes noise, and detail.
    edge_threshold : float or None, > 0
        Gradient that counts as an edge, relative to the image's 99.8th percentile; None: from the noise, 0.04 to 0.12.
    loss : {'auto', 'l1', 'l2'}
        Loss of the data in the fit. 'l1', half-ramp filtered, is better for clean data, 'l2' for noisy ones and for
        plain total variation; 'auto' chooses.
    nonnegative : bool
        Attenuation is not below 0. Turn off for phase tomograms.
    max_attenuation : 'auto', float or None, > 0
        Attenuation per pixel that the sample does not exceed anywhere, such as that of its one solid at this energy.
        'auto' finds it in the data, slice by slice, and keeps it where the slice shows that it has one solid
        (`fit.attenuation_bound`); it needs ``init='tv'``, a missing wedge and `nonnegative`, else there is no bound.
        None: no bound. The record of a slice (``return_info=True``) has the bound, its origin and its cost.
    mask : 'auto', bool, 'outline' or array_like
        Where the object may be; elsewhere the slice is zero. True: in the disc that the detector sees in a full turn.
        'auto': the same, or the circle that the edges of the projections show, where they show one. False: anywhere in
        the grid, for a sample wider than the detector. An array of 0 and 1, (rows, columns) or (slices, rows, columns):
        where it is 1. 'outline': within the outline that the edges of the projections show (`fit.measurement.outline`),
        for samples whose both sides the detector sees; worth most below 90°.
    levels : None, 'auto' or sequence of float
        Grey levels of a segmented material in attenuation per pixel, or 'auto' to find them. None (default) assumes
        nothing. Levels help a lot where they exist; with 'auto', slices without discrete levels are reconstructed
        without them, with a warning.
    network : bool
        False leaves only the free pixels of the generator, as a control.
    adversarial : float, >= 0
        Weight of the adversarial loss in the generator's loss; 0: no discriminator, as a control. With 'paper' the
        weight is 1 unless 0.
    learning_rate, pixel_rate, discriminator_rate : float or None, > 0
        Adam's learning rates of the generator's weights, of its free pixels (relative to the scale of the data) and of
        the discriminator. None: the preset's own.
    levels_weight : float, >= 0
        Weight of the distance from the grey levels.
    data_weight : float, > 0
        'paper' only: λ of the L1 term beside the cross entropy.
    patience : int, >= 0
        A slice is done when its objective has fallen by less than 0.05 % in this many iterations of the fit; 0: never.
        From a fall of 0.06 % to one of 0.04 % the iterates that follow count less and less, so that rounding does not
        decide.
    seed : int, >= 0
        Seed of the networks' initial weights. The same call on the same machine with the same threads repeats a result
        bit for bit.
    backend : {'auto', 'fourier', 'matrix', 'astra', 'astra_cuda'}
        Backend of the projector; see `ParallelBeamProjector`.
    center_convention : {'edge', 'index'}
        'edge': ``tomopy.recon``'s own default centre is the middle of the detector, columns / 2. 'index': a centre from
        ``tomopy.find_center*``, which counts from the middle of the first column: half a pixel is added.
    """

    preset: Literal["default", "paper"] = "default"
    num_iter: int | None = None
    quality: Literal["fast", "default", "best"] = "default"
    warm_iter: int | None = None
    init: Literal["tv", "sirt", "fbp", "none"] = "tv"
    reweight_rounds: int | None = None
    pixel_model: Literal["auto", "area", "point"] = "auto"
    wedge_rounds: int | None = None
    grid_factor: int | None = None
    wedge_tv_weight: float | None = None
    joint_slices: int = 1
    uncertainty_samples: int = 0
    noise: float | Literal["auto"] = "auto"
    tv_weight: float | None = None
    edge_threshold: float | None = None
    loss: Literal["auto", "l1", "l2"] = "auto"
    nonnegative: bool = True
    max_attenuation: Literal["auto"] | float | None = "auto"
    mask: bool | Literal["auto", "outline"] | Mask | np.ndarray = "auto"
    levels: Literal["auto"] | Sequence[float] | None = None
    network: bool = True
    adversarial: float = 0.1
    learning_rate: float | None = None
    pixel_rate: float | None = None
    discriminator_rate: float | None = None
    levels_weight: float = 2.0
    data_weight: float = 100.0
    patience: int = 25
    seed: int = 0
    backend: Literal["auto", "fourier", "matrix", "astra", "astra_cuda"] = "auto"
    center_convention: Literal["edge", "index"] = "edge"


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Options that decide where and how it is computed.

    But for `warm_start`, and for `batch_size` with `wedge_rounds`, they move no slice by more than 1e-4, and they may
    differ when a volume is resumed.

    Attributes
    ----------
    warm_start : int, 'auto' or None, >= 0
        Spacing of the slices that are reconstructed from scratch; those between start from their neighbours' images, at
        a quarter of the cost. 0 or 1: all slices from scratch. 'auto': by how much the sinograms of neighbours differ,
        at most 16. A slice that its neighbours do not explain is started from scratch in any case. None: 'auto' in
        `tomopy_ganrec.recon`, 0 inside ``tomopy.recon``, where a chunk does not know the others. Not with
        `joint_slices`. With 'paper' the networks' weights are carried from slice to slice instead, in chains of this
        length (32).
    batch_size : int or 'auto', >= 1
        Slices fitted at once. 'auto': as many as the free memory holds, 8 on a CPU and 32 on a GPU at most. With
        default options a slice is the same to 1e-4 (‖difference‖/‖slice‖) in any batch, with any number of threads and
        on any CPU. With `wedge_rounds` the slices of a batch share a network: faster and better in batches of 8, and
        independent of the worker and of other batches.
    device : str
        'auto' (a CUDA GPU if there is one), 'cpu', 'cuda', 'cuda:1'; as a keyword or in a dictionary also TomoPy's
        'gpu', which is 'auto'.
    gpu_list : sequence of int, optional
        GPUs that share the slices, as for ``tomopy.astra``: ``[0, 1]``.
    projector_memory : float, > 0
        Bytes the projector may take before 'auto' turns to ASTRA; on a GPU no more than a quarter of its memory. 5e9
        hold 2048² pixels from 1500 angles on a CPU.
    trust_theta : bool
        Take the angles as they are: no check that tells degrees from radians. For scans of less than some 6 degrees.
    progress : bool
        Show a progress bar.
    callback : callable or None
        Called with a `Status` after each iteration; a true answer ends the fit early, keeping what it has.
    """

    warm_start: int | Literal["auto"] | None = None
    batch_size: int | Literal["auto"] = "auto"
    device: str = "auto"
    gpu_list: Sequence[int] | None = None
    projector_memory: float = 5e9
    trust_theta: bool = False
    progress: bool = False
    callback: Callable[[Status], object] | None = None


@dataclass(frozen=True, kw_only=True)
class GanrecOptions(ExecutionOptions, FitOptions):  # in this order the fields of FitOptions come first
    """Reconstruction options. All have working defaults."""

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        for name, value in checked_values(values, defaults).items():
            object.__setattr__(self, name, value)

    @cached_property
    def resolved(self) -> ResolvedOptions:
        """The same options with values in place of None.

        These are `num_iter`, `warm_iter`, `reweight_rounds`, `wedge_rounds` and `grid_factor`; `max_attenuation` is
        None where 'auto' looks for nothing. Where `grid_factor` is left open, a fit falls back to 1 on data with too
        much noise (`fit.fine_grid.grid_factor`).
        """
        fast, best = self.quality == "fast", self.quality == "best"
        reweight_rounds = _first(self.reweight_rounds, 4 if fast else 8)
        wedge_rounds = _first(self.wedge_rounds, 2 if best else 0)
        grid_factor = _first(self.grid_factor, 2 if best else 1)
        simple = self.init == "tv" and self.levels is None
        if self.preset == "paper":
            num_iter, warm_iter = 1000, 100
        else:
            num_iter, warm_iter = (50, 25) if simple else (100, 50)
            if fast or wedge_rounds or self.joint_slices > 1:
                num_iter = 0
        num_iter = _first(self.num_iter, num_iter)
        searches = self.preset == "default" and self.init == "tv" and self.nonnegative
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= dict(
            num_iter=num_iter,
            warm_iter=_first(self.warm_iter, min(warm_iter, num_iter)),
            reweight_rounds=reweight_rounds,
            wedge_rounds=wedge_rounds,
            grid_factor=grid_factor,
            max_attenuation=self.max_attenuation if searches or self.max_attenuation != "auto" else None,
        )
        return ResolvedOptions(**values)

    @property
    def slice_tv_weight(self) -> float:
        """Weight of the total variation's derivative across slices that are solved jointly."""
        return 1.0 if self.joint_slices > 1 else 0.0

    @classmethod
    def from_mapping(
        cls, *mappings: Mapping[str, Any] | None, ignore: Collection[str] = TOMOPY_KEYWORDS
    ) -> GanrecOptions:
        """Options from dictionaries, later ones before earlier ones, as TomoPy's users and TomoPy itself give them.

        ``device='gpu'`` is TomoPy's word for a GPU if there is one (``'auto'`` here), and a zero-dimensional array
        means the value that it holds.

        Parameters
        ----------
        *mappings : mapping or None
            Names and values.
        ignore : collection of str
            Names that are passed over.

        Raises
        ------
        TypeError
            For an unknown name (the nearest known one is given), or a value of the wrong type.
        ValueError
            For a value out of range.
        """
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for mapping in map(unwrapped, mappings):
            if mapping is None:
                continue
            if not isinstance(mapping, Mapping):
                raise TypeError(
                    f"options must be a dictionary of option names and values, not {type(mapping).__name__}"
                )
            for name, value in mapping.items():
                if name in known:
                    values[name] = unwrapped(value)
                elif name not in ignore:
                    near = nearest_option(name, known)
                    hint = f"did you mean {near!r}?" if near else f"known are {', '.join(known)}"
                    raise TypeError(f"unknown option {shown(name)}: {hint}")
        if isinstance(values.get("device"), str) and values["device"] == "gpu":
            values["device"] = "auto"
        return cls(**values)

    def replace(self, **changes: Any) -> GanrecOptions:
        """A copy with some values changed, checked again."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(GanrecOptions):
    """Options with values in place of None, see `GanrecOptions.resolved`."""

    num_iter: int = 0
    warm_iter: int = 0
    reweight_rounds: int = 0
    wedge_rounds: int = 0
    grid_factor: int = 1


def _first(given: int | None, default: int) -> int:
    return default if given is None else given


# The attributes are described once, with the two groups.
_DESCRIPTIONS = [str(group.__doc__).split("----------\n", 1)[1].rstrip() for group in (FitOptions, ExecutionOptions)]
GanrecOptions.__doc__ = (
    f"{GanrecOptions.__doc__}\n\n    Attributes\n    ----------\n" + "\n".join(_DESCRIPTIONS) + "\n    "
)
