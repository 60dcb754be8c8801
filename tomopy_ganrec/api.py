"""Public entry points: `ganrec`, the TomoPy algorithm callable, and `recon`, a standalone function.

Units are those of TomoPy: data are line integrals (−log of the transmission), the result is attenuation per detector
column ("per pixel").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data_warnings import warn_of_data
from .fit.data_fit import warn_low_bounds, warn_no_outline, warn_unexplained
from .io.bad_pixels import warn_of_repairs
from .io.output_base import Output
from .io.outputs import output_of
from .io.source_base import Source
from .io.sources import source_of
from .mask import Mask
from .option_values import grid_size, shown
from .options import GanrecOptions
from .tomopy_chunks import give_back_threads, options_of_chunk, shared_progress
from .validation import check_array, check_centers, check_init, check_order, check_projections, check_size, check_theta
from .volume.devices import check_ncore, cpu_threads, resolve_devices
from .volume.job import Job
from .volume.local import run_local
from .volume.planning import choose_warm_interval
from .volume.progress import Progress

if TYPE_CHECKING:
    from distributed import Client
    from numpy.typing import ArrayLike

__all__ = ["ReconInfo", "ganrec", "recon"]

TOMOPY_FILL = np.float32(1e-6)  # what tomopy.recon puts into the array when no init_recon is given


@dataclass(frozen=True)
class ReconInfo:
    """The circumstances and the records of a reconstruction.

    Attributes
    ----------
    options : GanrecOptions
        As used.
    device : str
        The devices that were used, with commas between them.
    slices : list of dict
        For each slice what `results.FitResult.info` holds (noise, tv_weight, the iteration returned, data residual,
        levels, outline, reason for stopping …), its ``center``, ``history`` of losses, ``seconds`` and projector
        ``backend``. ``explained`` says whether the reconstruction explains the data (None: not checked, see
        `fit.data_fit.is_checked`), ``misfit`` and ``noise_residual`` by how much (`fit.data_fit.compare_with_data`).
    """

    options: GanrecOptions
    device: str
    slices: list[dict[str, Any]]

    def __str__(self) -> str:
        seconds = sum(sum(s["seconds"].values()) for s in self.slices)
        worst = max(s["residual"] for s in self.slices)
        count = "1 slice" if len(self.slices) == 1 else f"{len(self.slices)} slices"
        bad = [k for k, s in enumerate(self.slices) if s.get("explained") is False]
        unexplained = f"; the data of {len(bad)} are not explained, the first is slice {bad[0]}" if bad else ""
        return f"{count} on {self.device} in {seconds:.1f} s, largest relative data residual {worst:.2e}{unexplained}"


def _given_init(recon: np.ndarray) -> np.ndarray | None:
    """The init_recon that TomoPy copied into the array for the result, or None if that holds TomoPy's fill."""
    return None if np.all(recon == TOMOPY_FILL) else recon


def ganrec(
    tomo: np.ndarray,
    center: ArrayLike,
    recon: np.ndarray,
    theta: ArrayLike,
    *,
    num_gridx: int | None = None,
    num_gridy: int | None = None,
    options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    """GANrec, as an algorithm for TomoPy: ``tomopy.recon(proj, theta, center=c, algorithm=ganrec)``.

    Parameters
    ----------
    tomo : (slices, angles, columns) float32 array
        Line integrals; not changed.
    center : (slices,) float array
        Rotation axis on the detector, in columns. TomoPy's own default, the middle of the detector, is ``columns / 2``
        (edge convention); add half a column to a centre found by ``tomopy.find_center*``, or pass
        ``center_convention='index'``.
    recon : (slices, num_gridx, num_gridy) float32 array
        Receives attenuation per detector column, in place, once all slices are done; what it holds before, if not
        TomoPy's fill, is the initial image. TomoPy hands on its ``init_recon`` here, and a read-only one is refused.
    theta : (angles,) float array
        Radians.
    num_gridx, num_gridy : int, optional
        Rows and columns of a slice; they are those of `recon`.
    options : dict, optional
        Names and values of `GanrecOptions`. The dictionary is not changed.
    **kwargs
        The same as keywords; they come before `options`. Keywords of TomoPy's own algorithms (``filter_name`` …) are
        ignored, there and in `options`.

    Raises
    ------
    ValueError, TypeError, RuntimeError, MemoryError
        For invalid data or options, or a machine that lacks what they need; `recon` is left as it was.
    """
    try:
        _ganrec(tomo, center, recon, theta, GanrecOptions.from_mapping(options, kwargs))
    except BaseException:
        give_back_threads()
        raise


def _ganrec(tomo: np.ndarray, center: ArrayLike, recon: np.ndarray, theta: ArrayLike, options: GanrecOptions) -> None:
    if not isinstance(recon, np.ndarray) or recon.dtype.kind != "f":
        what = f"values of type {recon.dtype}" if isinstance(recon, np.ndarray) else shown(recon)
        raise TypeError(f"the array for the result is {what}; give a float32 array of (slices, num_gridx, num_gridy)")
    if not recon.flags.writeable:
        raise ValueError(
            "the array for the result is read-only. tomopy.recon writes the result into a float32 array that is given "
            "as init_recon: give a copy, init_recon=array.copy()"
        )
    tomo, image = np.asarray(check_array(tomo)), recon
    if tomo.ndim == 2 and recon.ndim == 2:  # nchunk=0: one slice, a scalar centre
        tomo, image = tomo[None], recon[None]
    source = source_of(tomo, sinogram_order=True)
    check_projections(tomo)
    theta = check_theta(theta, tomo.shape[1], options.trust_theta)
    centers = check_centers(center, tomo.shape[0], tomo.shape[2], options.center_convention)
    if image.ndim != 3 or image.shape[0] != tomo.shape[0]:
        raise ValueError(
            f"the array for the result has shape {recon.shape}, the data {tomo.shape[0]} slices; give (slices, "
            "num_gridx, num_gridy)"
        )
    init = _given_init(image)
    if init is not None:
        init = check_init(init, image.shape)
    check_size(image.shape[1:], tomo.shape[2])
    options = options_of_chunk(options, image)
    output = output_of(None, image.shape)
    warned = warn_of_data(source, theta, centers, image.shape[1:], options, stacklevel=4)
    output.begin({})
    with shared_progress(image, options.progress) as progress:
        warm_interval = choose_warm_interval(options, source)
        run_local(Job(source, output, theta, centers, image.shape[1:], options, init, warm_interval), progress)
    image[...] = output.result()
    warn_low_bounds(output.records, stacklevel=4)
    if not warned:  # wrong data explain a misfit
        warn_unexplained(output.records, options, stacklevel=4)
    warn_no_outline(output.records, stacklevel=4)


def recon(
    tomo: ArrayLike | Source,
    theta: ArrayLike,
    center: ArrayLike | None = None,
    sinogram_order: bool = False,
    algorithm: object = None,
    init_recon: ArrayLike | None = None,
    ncore: int | None = None,
    nchunk: int | None = None,
    options: Mapping[str, Any] | None = None,
    return_info: bool = False,
    num_gridx: int | None = None,
    num_gridy: int | None = None,
    out: str | Path | np.ndarray | Output | None = None,
    resume: bool = True,
    client: Client | None = None,
    **kwargs: Any,
) -> Any:
    """Reconstruct a volume with GANrec: the call of ``tomopy.recon``, without TomoPy.

    Parameters
    ----------
    tomo : (angles, slices, columns) array_like
        Line integrals. With ``sinogram_order=True`` (slices, angles, columns). Not changed. Data on disk
        (``numpy.memmap``, an HDF5 or Zarr dataset, a Dask array, `io.open_projections`) are read batch by batch.
    theta : (angles,) array_like
        Radians.
    center : float or (slices,) array_like, optional
        Rotation axis on the detector in columns, edge convention (default: ``columns / 2``); see the option
        ``center_convention``.
    sinogram_order : bool
    algorithm : optional
        For scripts that name it: `ganrec` or 'ganrec'.
    init_recon : (slices, num_gridx, num_gridy) array_like, optional
        Where the start image begins; with ``init='none'`` the start image itself. Not changed.
    ncore : int, optional
        CPU threads that torch may use, at most one for each CPU that this process may use; the workers of a `client`
        use all they have.
    nchunk : int, optional
        Slices fitted at once, as the option ``batch_size``.
    options : dict, optional
        Names and values of `GanrecOptions`.
    return_info : bool
    num_gridx, num_gridy : int, optional
        Rows and columns of a slice; default: the detector's columns.
    out : str, Path or float32 array, optional
        Where the slices are written as they are finished: ``'rec.h5'`` (dataset ``exchange/data``), a folder of TIFFs,
        or an array to fill; or the result of `io.outputs.output_of`.
    resume : bool
        Go on with an `out` that the same call has begun, killed or not, doing only what is missing; False refuses one
        that exists. While a call is writing to an `out`, another one into the same place is refused.
    client : dask.distributed.Client, optional
        Reconstruct on the workers of a Dask cluster (`volume.dask_client.run_on_cluster`). Not with the option
        ``callback``.
    **kwargs
        Options as keywords; they come before `options`.

    Returns
    -------
    (slices, num_gridx, num_gridy) float32 array, or the Path of `out`
        Attenuation per detector column. With `return_info` also a `ReconInfo`.

    Raises
    ------
    ValueError, TypeError, RuntimeError, MemoryError
        For invalid data or options, or a machine that lacks what they need: the message says what was given, what is
        allowed and what to do.
    OSError
        For data that cannot be read or an `out` that cannot be written; finished slices are kept there.
        BlockingIOError: another call is writing to `out`.
    """
    if algorithm not in (None, "ganrec", ganrec):
        raise ValueError(
            f"algorithm={algorithm!r}: this function reconstructs with 'ganrec'; use tomopy.recon for other algorithms"
        )
    threads = check_ncore(ncore)
    given = nchunk is not None and not (isinstance(nchunk, int) and nchunk == 0)
    chosen = GanrecOptions.from_mapping({"batch_size": nchunk} if given else None, options, kwargs)
    tomo = check_array(tomo)
    check_order(theta, np.shape(tomo), sinogram_order or isinstance(tomo, Source))
    source = source_of(tomo, sinogram_order)
    if source.nbytes_in_memory:
        check_projections(np.asarray(tomo) if sinogram_order else np.asarray(tomo).swapaxes(0, 1))
    slices, angles, columns = source.shape
    theta = check_theta(theta, angles, chosen.trust_theta)
    centers = check_centers(center, slices, columns, chosen.center_convention)
    size = grid_size(columns, num_gridx, num_gridy)
    check_size(size, columns)
    if isinstance(chosen.mask, Mask):
        chosen.mask.check(slices, size)
    init = None if init_recon is None else check_init(init_recon, (slices, *size))
    device_names = [] if client is not None else [str(device) for device in resolve_devices(chosen)]
    warned = warn_of_data(source, theta, centers, size, chosen)
    if isinstance(out, np.ndarray) and isinstance(tomo, np.ndarray) and np.may_share_memory(out, tomo):
        raise ValueError(
            "out shares its memory with the data, which would be overwritten while they are read; give another array, "
            "or None"
        )
    output = out if isinstance(out, Output) else output_of(out, (slices, *size))
    # A given initial image is replaced by the neighbours' only on request.
    warm_interval = choose_warm_interval(chosen, source, "auto" if init is None else 0)
    job = Job(source, output, theta, centers, size, chosen, init, warm_interval)
    output.begin(job.identity(), resume, alone=True)
    progress = Progress(slices, chosen.progress)
    try:
        progress.enter()
        with cpu_threads(threads):
            if client is None:
                run_local(job, progress)
            else:
                from .volume.dask_client import run_on_cluster

                device_names = run_on_cluster(job, progress, client)
    finally:
        progress.leave(True)
        output.close()
    records = [record for record in output.records if record is not None]
    warn_of_repairs([record.get("repaired", 0) for record in records], angles * columns, source.what)
    image = output.result()
    warn_low_bounds(output.records)
    if not warned:  # wrong data explain a misfit
        warn_unexplained(output.records, chosen)
    warn_no_outline(output.records)
    return (image, ReconInfo(chosen, ", ".join(device_names), records)) if return_info else image
