"""Checks of detector counts that cannot be normalised: wrapped round, or without a flat field."""

import numpy as np

__all__ = ["refuse_deeply_wrapped", "refuse_without_flat", "refuse_wrapped"]

WRAPPED = "wrapped round when unsigned integers were subtracted. Store the counts themselves, or subtract in float32"


def refuse_wrapped(values: np.ndarray, what: str) -> None:
    """Refuse unsigned integers below zero that have become very large ones, and large ones that have become negative.

    Parameters
    ----------
    values : array
        As stored.
    what : str
        ``'projections'``, ``'flat fields'`` or ``'dark fields'``.

    Raises
    ------
    ValueError
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 2 or not values.size:
        return
    most = np.iinfo(values.dtype).max
    if values.dtype.kind == "u":
        high = values >= most - most // 64
        wrapped = high & (values < most) if what == "projections" else high
        share = float(wrapped.mean())
        between = float(((values > most // 2) & ~high).mean())
        if share >= 1e-3 and between < 0.1 * share and np.unique(values[high]).size > 1:
            raise ValueError(
                f"{share:.2%} of the values of its {what} lie just below {most}, the largest {values.dtype}, and "
                f"hardly any others are large: they were negative and {WRAPPED}"
            )
    else:
        share = float((values < -(most // 8)).mean())
        if share >= 1e-3:
            raise ValueError(
                f"{share:.2%} of the values of its {what} are far below zero, down to {values.min()}: counts too "
                f"large for {values.dtype} have wrapped round; store them unsigned, or as float32"
            )


def refuse_deeply_wrapped(data: np.ndarray, flat: np.ndarray) -> None:
    """Refuse unsigned projections whose darkest values have become far brighter than the beam, by much more than noise.

    Parameters
    ----------
    data : (angles, rows, columns) array
        As stored.
    flat : (rows, columns) array
        Average.

    Raises
    ------
    ValueError
    """
    data = np.asarray(data)
    if data.dtype.kind != "u" or data.dtype.itemsize < 2 or not data.size:
        return
    most = np.iinfo(data.dtype).max
    high = (data > most // 2) & (data > 1.3 * flat) & (data < most)
    others = data[~high]
    if high.mean() < 0.02 or high.any((0, 1)).mean() < 0.1 or not others.size:  # hot columns and zingers are fewer
        return
    if data[high].min() > 1.5 * np.quantile(others, 0.999):
        raise ValueError(
            f"{high.mean():.2%} of the values of its projections lie between {data[high].min()} and "
            f"{data[high].max()}, far above the beam ({np.median(flat):.4g}), and none between: they were negative and "
            f"{WRAPPED}"
        )


def refuse_without_flat(data: np.ndarray) -> None:
    """Refuse projections without flat fields that are no transmission.

    Parameters
    ----------
    data : (angles, rows, columns) array
        As stored.

    Raises
    ------
    ValueError
    """
    data = np.asarray(data)
    remedy = (
        "it holds no flat fields: store them as data_white, or one number as "
        "process/acquisition/flat_fields/flat_field_value; or divide by them and store "
        "transmissions of 0 to 1 as float32"
    )
    if data.dtype.kind in "biu":
        raise ValueError(f"its projections are counts ({data.dtype}, {data.min()} to {data.max()}), and {remedy}")
    finite = data[np.isfinite(data)]
    if not finite.size:
        raise ValueError("its projections hold no number")
    upper = float(np.quantile(finite, 0.9))
    if upper > 1.5:
        raise ValueError(
            f"its projections reach {upper:.4g}, so they are no transmission, and {remedy}. Line integrals that are in "
            "a file already: read them with minus_log=False"
        )
    columns = data.shape[-1]
    edge = max(1, columns // 50)
    border = float(np.nanmedian(np.concatenate([data[..., :edge], data[..., -edge:]], axis=-1)))
    middle = float(np.nanmedian(data[..., columns // 4 : columns - columns // 4]))
    if border < 0.1 and middle > 2 * max(border, 0) + 0.05:
        raise ValueError(
            f"its projections are darker at the detector's edges ({border:.3g}) than in the middle ({middle:.3g}) "
            "and there are no flat fields: they look like line integrals already; read them with minus_log=False"
        )
