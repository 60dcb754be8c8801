"""Means and deviations of results, against numbers taken by hand."""

import math

import pytest

from tomopy_ganrec.benchmark.report.summaries import summarize


def summary_of(rows, case, method):
    return next(s for s in summarize(rows) if (s["case"], s["method"]) == (case, method))


def test_summary_by_hand(results):
    s = summary_of(results.rows(), "shale-180", "ganrec")
    # Slices are 0.90, 0.91 and 0.92, 0.93 by seed: means 0.905 and 0.925.
    # Tolerance: rounding of sums of a few numbers near 1.
    assert s["mssim"] == pytest.approx(0.915, abs=1e-12)
    assert s["mssim_std"] == pytest.approx(0.02 / math.sqrt(2), abs=1e-12)  # of two numbers, n − 1
    assert s["mssim_std_seeds"] == pytest.approx(0.01 / math.sqrt(2), abs=1e-12)
    assert (s["mssim_n"], s["slices"], s["seeds"], s["runs"], s["failed"]) == (2, 2, 2, 4, 0)
    assert s["seconds"] == pytest.approx(8.5) and s["time"] == pytest.approx((8 + 9) / (2 + 3))
    assert summary_of(results.rows(), "shale-180", "astra-mlem")["time"] == 1
    assert summary_of(results.rows(), "shale-180", "tv")["mssim_std_seeds"] is None


def test_summary_leaves_out_what_failed_and_says_so(results):
    s = summary_of(results.rows(), "shale-120", "gridrec")
    assert (s["failed"], s["mssim_n"], s["slices"], s["mssim_std"]) == (1, 1, 2, None)
    assert s["mssim"] == pytest.approx(0.4, abs=1e-12)  # slice 0 alone
    assert s["time"] == pytest.approx(0.1 / 2.0)  # and so is the peer's time
    assert summary_of(results.rows(), "foam-51over70", "gridrec")["mssim"] is None


def test_cases_come_in_the_order_of_a_reader(results):
    cases = list(dict.fromkeys(s["case"] for s in summarize(results.rows())))
    assert cases == [
        f"{name}-{angular_range}" for name in ("foam", "shale") for angular_range in ("180", "120", "51over70")
    ] + [
        "tooth-full",
        "tooth-0to120",
    ]
