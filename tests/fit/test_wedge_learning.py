"""The missing wedge's effect learned from the scan: rotated copies, training, and what it does to a slice."""

import math

import numpy as np
import pytest
import torch
from fit_cases import run
from wedge_cases import degrees, pixel_offset_grid, relative_differences, seeded, smooth_noise

from tomopy_ganrec.fit import fit, wedge_learning
from tomopy_ganrec.fit.reweighted_tv import WEDGE_ITERATIONS
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.fit.wedge_learning import WedgeLearning, WedgeTrainer, random_rotations, rotate
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.wedge import measured_frequencies

BRIEF = dict(pixel_model="area", reweight_rounds=1, wedge_rounds=1)  # where behaviour matters, not quality
# Iterations in a round with `brief_learning`: of a copy 10 and a round of 5; 6 training steps; those of the last solve.
ROUND_STEPS = 10 + 5 + 6 + WEDGE_ITERATIONS


@pytest.mark.parametrize("count", (1, 2, 7, 8))
def test_random_rotations_are_rotations_and_mirrors(count):
    matrices = random_rotations(count, seeded())
    assert tuple(matrices.shape) == (count, 2, 2)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(2).expand(count, 2, 2), rtol=0, atol=1e-6)  # float32
    # Every second one is mirrored.
    assert torch.linalg.det(matrices).round().tolist() == [-1.0 if k % 2 else 1.0 for k in range(count)]


def test_random_rotations_are_not_below_25_degrees():
    matrices = torch.cat([random_rotations(8, seeded(seed))[::2] for seed in range(50)])
    angle = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert float((angle % 180).min()) >= 25 - 1e-3 and float((angle % 180).max()) <= 155 + 1e-3  # float32
    assert (
        0.3 < float((angle < 0).float().mean()) < 0.7
    )  # half turns at random, 200 of them: .035 is one standard deviation
    # One in each quarter of the 130°.
    assert (((angle % 180 - 25) // 32.5).reshape(50, 4) == torch.arange(4)).all()


def test_random_rotations_repeat_for_a_seed():
    assert torch.equal(random_rotations(8, seeded(3)), random_rotations(8, seeded(3)))
    assert not torch.equal(random_rotations(8, seeded(3)), random_rotations(8, seeded(4)))


@pytest.mark.parametrize("first", (0, 20, -60))
def test_no_copy_has_the_missing_wedge_of_the_scan(shale_case, brief_learning, measured_start, monkeypatch, first):
    """Frequencies that are missing in a copy, too, cannot be learned from it.

    These are 35/60 of the missing frequencies at most, for a rotation by 25°. (Mirrored copies may share more.)
    """
    theta = degrees(first, first + 120, 4)
    case = shale_case(size=32, step=2)
    model = ParallelBeamProjector(32, theta, 32)
    case = case._replace(model=model, theta=theta, sinogram=model.forward_project(torch.from_numpy(case.truth)))
    measurement, image, options = measured_start(case, **BRIEF)
    for name in ("PLAIN_ITERATIONS", "ROUND_ITERATIONS"):
        monkeypatch.setattr(wedge_learning, name, 1)
    trainer = WedgeTrainer(measurement, 0)
    missing = 1 - measured_frequencies(theta, (32, 32))
    shares = []
    for _ in range(10):
        measured = trainer.training_pairs(image, StageProgress("learn"))[2]
        shares.append(((missing * (1 - measured)).sum((1, 2)) / missing.sum())[::2])
    assert float(torch.stack(shares).max()) < 0.7  # .58 and the soft borders; .61 at most measured


@pytest.mark.parametrize("shape", ((6, 6), (7, 7), (8, 6), (7, 11)))
def test_a_quarter_turn_is_rot90(shape):
    """By (column, row) → (−row, column): counterclockwise, as rot90 and as the eye sees it with rows downwards."""
    x = torch.zeros(1, *shape)
    rows, cols = shape
    side = min(shape)
    middle = slice((rows - side) // 2, (rows + side) // 2), slice((cols - side) // 2, (cols + side) // 2)
    x[(0, *middle)] = torch.rand(side, side, generator=seeded())
    expected = torch.zeros(1, *shape)
    expected[(0, *middle)] = torch.rot90(x[(0, *middle)])
    rotated = rotate(x, torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]))
    assert rotated.shape == x.shape
    # float32 positions, to 1e-7 of the width, between pixels that differ by 1.
    torch.testing.assert_close(rotated, expected, rtol=0, atol=1e-5)
    assert float(expected.max()) > 0.5  # it is not empty


@pytest.mark.parametrize("shape", ((6, 6), (7, 5), (4, 9)))
def test_rotate_by_a_mirror_is_a_flip(shape):
    x = torch.rand(3, *shape, generator=seeded())
    matrices = torch.stack([torch.diag(torch.tensor(d)) for d in ((1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))])
    expected = torch.stack([x[0].flip(0), x[1].flip(1), x[2].flip(0, 1)])
    torch.testing.assert_close(rotate(x, matrices), expected, rtol=0, atol=1e-5)  # float32 positions


@pytest.mark.parametrize("shape", ((64, 64), (65, 65), (64, 48), (41, 64)))
def test_rotating_there_and_back(shape):
    x, matrices = smooth_noise(*shape, 8), random_rotations(8, seeded())
    back = rotate(rotate(x, matrices), matrices.mT)
    assert back.shape == x.shape
    # .02 to .03 measured, from bicubic interpolation twice; rotated once, it is above 1.
    assert float(relative_differences(back, x).max()) < 0.05
    assert float(relative_differences(rotate(x, matrices), x).min()) > 0.5


def test_rotate_takes_zero_outside_of_the_image():
    x = torch.ones(1, 32, 32)
    rotated = rotate(x, random_rotations(1, seeded(1)))
    y, x = pixel_offset_grid(32, 32)
    inside = torch.hypot(y, x) < 13
    torch.testing.assert_close(rotated[0][inside], torch.ones_like(rotated[0][inside]), rtol=0, atol=1e-5)  # float32
    assert float(rotated[0, 0, 0]) == 0 and float(rotated[0, -1, -1]) == 0


def learned(measurement, image, options, seed=0, callback=None, last_solve=None):
    """The images after wedge learning."""
    stage = WedgeLearning(measurement, options.resolved.wedge_rounds, seed)
    return stage.run(image, StageProgress("learn", callback), last_solve)


def test_learning_repeats_for_a_seed(small_case, brief_learning, measured_start):
    measurement, image, options = measured_start(small_case, **BRIEF)
    first, again, other = (learned(measurement, image, options, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 1e-5  # another network, other copies
    assert float((first - image).abs().max()) > 1e-4 and first.isfinite().all()
    assert float(first.min()) >= 0 and (first[0][measurement.constraints.support == 0] == 0).all()


def test_random_states_are_not_changed(small_case, brief_learning, measured_start):
    measurement, image, options = measured_start(small_case, **BRIEF)
    kept_image, torch_state, numpy_state = image.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    expected = learned(measurement, image, options)
    assert torch.equal(torch.get_rng_state(), torch_state) and np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(image, kept_image)
    torch.manual_seed(123)
    assert torch.equal(learned(measurement, image, options), expected)


@pytest.mark.parametrize("rounds", (1, 2))
def test_learning_reports_each_step(small_case, brief_learning, measured_start, rounds):
    measurement, image, options = measured_start(small_case, **BRIEF | dict(wedge_rounds=rounds))
    calls = []
    learned(measurement, image, options, callback=lambda status: calls.append(1))
    assert len(calls) == WedgeLearning(measurement, rounds, 0).steps == rounds * ROUND_STEPS


@pytest.mark.parametrize("stop", (1, 12, 18, 40, ROUND_STEPS + 12, ROUND_STEPS + 18, ROUND_STEPS + 36))
def test_learning_stops_at_any_step(small_case, brief_learning, measured_start, stop):
    """While copies are reconstructed, while the network is trained, in the last solve, and in the second round."""
    measurement, image, options = measured_start(small_case, **BRIEF | dict(wedge_rounds=2))
    calls = []
    result = learned(measurement, image, options, callback=lambda status: calls.append(1) or len(calls) >= stop)
    assert result.shape == image.shape and result.isfinite().all()
    # Nested loops may each report once more after a stop, but no more than a handful of times.
    assert stop <= len(calls) <= stop + 5
    assert torch.equal(result, image) == (stop < 22)  # nothing is repaired before the first solve
    assert float((result - image).norm() / image.norm()) < 0.5


def test_the_last_solve_may_be_given(small_case, brief_learning, measured_start):
    measurement, image, options = measured_start(small_case, **BRIEF | dict(wedge_rounds=2))
    seen = []

    def solve(answer, progress):
        seen.append(answer.clone())
        return image + 1

    result = learned(measurement, image, options, last_solve=solve)
    assert len(seen) == 1 and torch.equal(result, image + 1)
    assert not seen[0].requires_grad and (seen[0][0][measurement.constraints.support == 0] == 0).all()


@pytest.fixture(scope="module")
def foam():
    """64² foam over 90°, noise-free, with structure below the pixel."""
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    truth, sinogram = Case("foam", 64, "90", None).slice()
    return truth, torch.from_numpy(sinogram)[None], ParallelBeamProjector(64, AngularRange("90").theta, 64)


def test_learning_improves_the_start(foam, monkeypatch):
    monkeypatch.setattr(wedge_learning, "TRAINING_STEPS", 100)
    truth, sinogram, model = foam
    result = fit(model, sinogram, GanrecOptions(pixel_model="area", wedge_rounds=1))
    before, after = mssim(truth, result.start[0]), mssim(truth, result.image[0])
    assert after > before + 0.0145  # half of what is measured, .5794 to .6086
    info = result.info[0]
    # The last solve fits the data as the start did, but with the network's edges, and with its image in the frequencies
    # not measured: 1.02 measured.
    assert info["residual"] < 1.1 * info["start_residual"]
    assert info["stopped"] == "finished" and info["iteration"] == 0
    assert float(result.image.min()) >= 0 and (result.image[0][field_of_view(model) == 0] == 0).all()


def test_residual_is_that_of_the_image(small_case, brief_learning):
    result = run(small_case, **BRIEF | dict(pixel_model="point"))
    residual = float(
        (small_case.model.forward_project(result.image) - small_case.sinogram).norm() / small_case.sinogram.norm()
    )
    # float32: the residual is a thousandth of the data.
    assert result.info[0]["residual"] == pytest.approx(residual, rel=1e-3)
    assert result.info[0]["residual"] != result.info[0]["start_residual"]


@pytest.mark.parametrize(
    "options",
    (
        dict(pixel_model="point"),
        dict(pixel_model="auto"),
        dict(nonnegative=False),
        dict(mask=False),
        dict(init="fbp"),
        dict(reweight_rounds=0),
    ),
)
def test_learning_with_other_options(small_case, brief_learning, options):
    result = run(small_case, **BRIEF | options)
    assert result.image.shape == (1, 32, 32) and result.image.isfinite().all() and not result.image.requires_grad
    assert not torch.equal(result.image, result.start)
    assert math.isfinite(result.info[0]["residual"]) and result.info[0]["residual"] < 0.1  # .03 at most measured
    if "nonnegative" not in options:
        assert float(result.image.min()) >= 0


@pytest.mark.parametrize("size", ((33, 33), (40, 31), (28, 37)))
def test_learning_on_grids_of_any_shape(small_case, brief_learning, size):
    model = ParallelBeamProjector(size, small_case.theta, 32, center=15.2)
    result = run(small_case._replace(model=model), **BRIEF)
    assert tuple(result.image.shape[1:]) == size
    assert result.image.isfinite().all()
    assert not torch.equal(result.image, result.start)


def test_learning_is_free_of_units(small_case, brief_learning):
    """To the last bit for a power of two: no step of it depends on the units."""
    one, eight = run(small_case, **BRIEF), run(small_case._replace(sinogram=8 * small_case.sinogram), **BRIEF)
    assert torch.equal(eight.image, 8 * one.image)
    assert eight.info[0]["residual"] == one.info[0]["residual"]


def test_callback_sees_each_step_of_learning(small_case, brief_learning):
    seen = []
    run(small_case, callback=seen.append, **BRIEF)
    learning = [s for s in seen if s.stage == "learn"]
    assert seen[-len(learning) :] == learning
    assert {s.stage for s in seen} == {"start", "learn"}  # no fit unless it is asked for
    assert [s.iteration for s in learning] == list(range(1, ROUND_STEPS + 1))
    assert {s.total for s in learning} == {ROUND_STEPS}


@pytest.mark.parametrize("stop", (1, 18, 60))
def test_callback_stops_learning(small_case, brief_learning, stop):
    result = run(
        small_case, callback=lambda s: s.stage == "learn" and s.iteration >= stop, uncertainty_samples=2, **BRIEF
    )
    assert result.info[0]["stopped"] == "callback" and "uncertainty" not in result.info[0]
    assert result.image.isfinite().all()
    # The image so far, which is hardly worse.
    assert mssim(small_case.truth[0], result.image[0]) > mssim(small_case.truth[0], result.start[0]) - 0.05


def test_a_fit_comes_first_where_it_is_asked_for(small_case, brief_learning):
    stages = []
    run(small_case, callback=lambda s: stages.append(s.stage), **BRIEF | dict(num_iter=5))
    assert list(dict.fromkeys(stages)) == ["start", "fit", "learn"]


def test_a_scan_without_missing_wedge_is_not_changed(shale_case):
    seen = []
    case = shale_case(size=32, wedge=180, step=2)
    result = run(case, callback=lambda s: seen.append(s.stage), **BRIEF)
    assert set(seen) == {"start"} and torch.equal(result.image, result.start)


@pytest.fixture(scope="module")
def three_slices(shale_case):
    """Three different slices of 32² shale."""
    case = shale_case(size=32, step=2)
    cases = [case, shale_case(size=32, step=2, seed=1), shale_case(size=32, step=2, seed=2)]
    return case._replace(
        truth=np.concatenate([c.truth for c in cases]), sinogram=torch.cat([c.sinogram for c in cases])
    )


def test_slices_of_a_batch_learn_each_on_its_own(three_slices, brief_learning, monkeypatch):
    """Slices that are not solved jointly are independent: what their networks learn does not depend on the batch."""
    monkeypatch.setattr(wedge_learning, "TRAINING_STEPS", 40)
    case = three_slices
    options = dict(BRIEF, noise=1e-2)
    together = run(case, **options)
    for k in range(3):
        alone, other = (run(case._replace(sinogram=case.sinogram[k : k + 1]), **options, seed=seed) for seed in (0, 1))
        # Sums in another order, amplified by training; another network makes as much of a difference as another seed.
        assert (together.image[k] - alone.image[0]).norm() < 0.2 * (other.image[0] - alone.image[0]).norm()


def test_slices_that_are_solved_jointly_share_their_network(three_slices, brief_learning, monkeypatch):
    case, seen = three_slices, []
    monkeypatch.setattr(WedgeLearning, "run", lambda self, x, *rest: seen.append(len(x)) or x)
    run(case, **BRIEF, joint_slices=3)
    assert seen == [3]


@pytest.mark.parametrize("joint_slices", (1, 2))
def test_learning_without_signal_gives_zero(small_case, brief_learning, joint_slices):
    sinogram = torch.zeros_like(small_case.sinogram).expand(joint_slices, -1, -1)
    result = run(small_case._replace(sinogram=sinogram), joint_slices=joint_slices, **BRIEF)
    assert torch.equal(result.image, torch.zeros(joint_slices, 32, 32))
    assert all(math.isfinite(info["residual"]) for info in result.info)


@pytest.mark.parametrize("joint_slices", (1, 3))
def test_a_slice_without_signal_does_not_harm_the_others(three_slices, brief_learning, joint_slices):
    case = three_slices
    sinogram = case.sinogram.clone()
    sinogram[1] = 0
    result = run(case._replace(sinogram=sinogram), joint_slices=joint_slices, noise=1e-2, **BRIEF)
    assert result.image.isfinite().all() and all(math.isfinite(info["residual"]) for info in result.info)
    for k in (0, 2):
        assert mssim(case.truth[k], result.image[k]) > 0.5


def test_the_default_dtype_does_not_matter(small_case, brief_learning, monkeypatch):
    """The same random numbers are drawn, and filters are computed more exactly: less than another seed would change."""
    monkeypatch.setattr(wedge_learning, "TRAINING_STEPS", 40)
    expected, other = (run(small_case, **BRIEF, seed=seed).image for seed in (0, 1))
    torch.set_default_dtype(torch.float64)
    try:
        image = run(small_case, **BRIEF).image
    finally:
        torch.set_default_dtype(torch.float32)
    assert image.dtype == torch.float32
    assert (image - expected).norm() < 0.2 * (other - expected).norm()


@pytest.mark.parametrize("context", (torch.no_grad, torch.inference_mode))
def test_learning_where_the_caller_records_no_gradients(small_case, brief_learning, context):
    expected = run(small_case, **BRIEF).image
    with context():
        result = run(small_case._replace(sinogram=small_case.sinogram.clone()), **BRIEF)
    assert torch.equal(result.image, expected)
