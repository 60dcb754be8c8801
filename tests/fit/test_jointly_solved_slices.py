"""Neighbouring slices that are solved jointly."""

import numpy as np
import torch
from fit_cases import measured, pixel_offsets, run

from tomopy_ganrec.metrics import mssim, ssim_map


def noisy_copies(case, photons_case, count=4):
    """The slice of a case `count` times, each with noise of its own, as much as that of the other case."""
    sigma = float((photons_case.sinogram - case.sinogram).std())
    noise = torch.randn(count, *case.sinogram.shape[1:], generator=torch.Generator().manual_seed(0))
    return case._replace(truth=np.repeat(case.truth, count, 0), sinogram=case.sinogram + sigma * noise)


def test_joint_slices_are_nearer_to_the_truth_than_single_ones(shale_case):
    case = noisy_copies(shale_case(size=48), shale_case(size=48, photons=1e3))
    alone, joint = (run(case, num_iter=0, pixel_model="point", joint_slices=count).image for count in (1, 4))
    # Half of what is measured, .706 to .721 and .1002 to .0956; with other noise .712 to .746 and .692 to .715.
    quality_of = [np.mean([mssim(case.truth[0], image) for image in images]) for images in (alone, joint)]
    assert quality_of[1] > quality_of[0] + 0.007
    error = [float((images - torch.from_numpy(case.truth)).square().mean().sqrt()) for images in (alone, joint)]
    assert error[1] < error[0] - 0.0023
    deviation = [float(images.std(0).mean()) for images in (alone, joint)]
    assert deviation[1] < 0.75 * deviation[0]  # they agree more: .56 measured


def test_equal_slices_are_the_same_jointly_as_alone(small_case):
    """Without a difference between neighbours there is no penalty: the problem is that of each slice, solved in smaller
    steps."""
    one = run(small_case, num_iter=0, pixel_model="area", noise=0.02).image
    three_alike = run(
        small_case._replace(sinogram=small_case.sinogram.expand(3, -1, -1)),
        num_iter=0,
        pixel_model="area",
        noise=0.02,
        joint_slices=3,
    ).image
    assert (three_alike - three_alike[:1]).abs().max() < 1e-4  # grey range 1: sums in another order
    assert (three_alike[0] - one[0]).norm() < 0.05 * one.norm()  # the steps are shorter


def test_joint_slices_keep_their_order(three_slices):
    result = run(three_slices, num_iter=0, reweight_rounds=1, joint_slices=3)
    scores = np.array([[mssim(truth, image) for truth in three_slices.truth] for image in result.image])
    assert scores.argmax(1).tolist() == [0, 1, 2]


def test_a_brighter_neighbour_does_not_harm_a_slice(shale_case):
    """Joint slices are compared in the same units: where they are alike they stay so, whatever else one of them holds.

    The second slice is the first one with a disc of five times its attenuation: its own scale is 1.9 times as large.
    """
    case, noise = shale_case(size=48, wedge=90), shale_case(size=48, wedge=90, photons=1e4)
    y, x = pixel_offsets(48)
    disc = np.hypot(y, x) < 7
    other = measured(case, case.truth[0] + 4 * disc)
    sigma = float((noise.sinogram - case.sinogram).std())
    sinogram = torch.cat([case.sinogram, other.sinogram])
    both = case._replace(
        sinogram=sinogram + sigma * torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))
    )
    far = np.hypot(y, x) > 10
    alone, joint = (run(both, num_iter=0, pixel_model="point", joint_slices=count).image for count in (1, 2))
    score = [ssim_map(case.truth[0], images[0])[far].mean() for images in (alone, joint)]
    assert score[1] > score[0] - 0.06


def test_stages_of_joint_slices_with_learning(three_slices, brief_learning):
    seen = []
    result = run(
        three_slices,
        callback=seen.append,
        reweight_rounds=1,
        pixel_model="area",
        max_attenuation=None,  # whose search ends early where there is no one solid
        joint_slices=3,
        wedge_rounds=1,
        grid_factor=2,
        uncertainty_samples=2,
    )
    assert list(dict.fromkeys(s.stage for s in seen)) == ["start", "learn", "uncertainty"]
    for stage in ("start", "learn", "uncertainty"):
        reports = [s for s in seen if s.stage == stage]
        assert [s.iteration for s in reports] == list(range(1, len(reports) + 1))
        assert {s.total for s in reports} == {reports[0].total}
        assert len(reports) <= reports[0].total  # the search for a bound may end earlier
    assert result.image.isfinite().all() and all(info["uncertainty"].shape == (32, 32) for info in result.info)
