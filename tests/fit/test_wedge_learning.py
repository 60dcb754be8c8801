"""What the missing wedge does, learned from the scan: turned copies, the frequencies measured, the network, and what it does to a slice."""

import math

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit import fit, wedge_learning
from tomopy_ganrec.fit.reweighted_tv import WEDGE_ITERATIONS
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.fit.wedge_learning import WedgeLearning, WedgeTrainer, random_rotations, rotate
from tomopy_ganrec.fit.wedge_network import WedgeNetwork
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.operators import gaussian_blur
from tomopy_ganrec.solvers.wedge import has_missing_wedge, measured_frequencies

BRIEF = dict(pixel_model="area", reweight_rounds=1, wedge_rounds=1)  # where behaviour matters, not quality


def degrees(first, last, step=1.0):
    return np.deg2rad(np.arange(first, last, step))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def run(case, callback=None, **options):
    return fit(case.model, case.sinogram, GanrecOptions(**options), callback=callback)


def grid(rows, cols):
    return torch.meshgrid(torch.arange(rows) - (rows - 1) / 2, torch.arange(cols) - (cols - 1) / 2, indexing="ij")


def kept(x, frequencies):
    return torch.fft.irfft2(torch.fft.rfft2(x) * frequencies, s=x.shape[-2:])


def smooth_noise(rows, cols, count=1, sigma=2.0):
    """Noise without the highest frequencies, zero towards the corners: what turning leaves whole."""
    y, x = grid(rows, cols)
    disc = gaussian_blur((torch.hypot(y, x) < 0.35 * min(rows, cols)).float()[None], 2.0)
    return gaussian_blur(torch.randn(1, rows, cols, generator=generator()), sigma).expand(count, -1, -1) * disc


def differences(a, b):
    return (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)


@pytest.fixture
def brief(monkeypatch):
    """Lessons of a second, from which nothing is learned that would matter."""
    for name, value in dict(COPIES=4, PLAIN_ITERATIONS=10, ROUNDS=1, ROUND_ITERATIONS=5, TRAINING_STEPS=6).items():
        monkeypatch.setattr(wedge_learning, name, value)


# Turned copies


@pytest.mark.parametrize("count", (1, 2, 7, 8))
def test_turns_are_rotations_and_mirrors(count):
    matrices = random_rotations(count, generator())
    assert tuple(matrices.shape) == (count, 2, 2)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(2).expand(count, 2, 2), rtol=0, atol=1e-6)  # float32
    # Every second one is mirrored.
    assert torch.linalg.det(matrices).round().tolist() == [-1.0 if k % 2 else 1.0 for k in range(count)]


def test_rotations_stay_away_from_the_scans_own_wedge():
    found = torch.cat([random_rotations(8, generator(seed))[::2] for seed in range(50)])
    angle = torch.rad2deg(torch.atan2(found[:, 1, 0], found[:, 0, 0]))
    assert float((angle % 180).min()) >= 25 - 1e-3 and float((angle % 180).max()) <= 155 + 1e-3  # float32
    assert 0.3 < float((angle < 0).float().mean()) < 0.7  # half turns at random: 200 coins, .035 is one deviation
    # One in each quarter of the 130°.
    assert (((angle % 180 - 25) // 32.5).reshape(50, 4) == torch.arange(4)).all()


def test_turns_repeat_for_a_seed():
    assert torch.equal(random_rotations(8, generator(3)), random_rotations(8, generator(3))) and not torch.equal(
        random_rotations(8, generator(3)), random_rotations(8, generator(4))
    )


@pytest.mark.parametrize("first", (0, 20, -60))
def test_no_rotation_is_of_the_scans_own_wedge(shale_case, brief, begun, monkeypatch, first):
    """What is missing in a copy, too, can't be learned from it: 35/60 of the missing frequencies at most, turned by 25°. (Mirrored copies may
    show more of it.)"""
    theta = degrees(first, first + 120, 4)
    case = shale_case(size=32, step=2)
    model = ParallelBeamProjector(32, theta, 32)
    case = case._replace(model=model, theta=theta, sinogram=model.forward_project(torch.from_numpy(case.truth)))
    measurement, image, options = begun(case, **BRIEF)
    for name in ("PLAIN_ITERATIONS", "ROUND_ITERATIONS"):
        monkeypatch.setattr(wedge_learning, name, 1)
    trainer = WedgeTrainer(measurement, 0)
    missing = 1 - measured_frequencies(theta, (32, 32))
    shares = []
    for _ in range(10):
        believed = trainer.training_pairs(image, StageProgress("learn"))[2]
        shares.append(((missing * (1 - believed)).sum((1, 2)) / missing.sum())[::2])
    assert float(torch.stack(shares).max()) < 0.7  # .58 and the soft borders; .61 is the most seen of rotations


@pytest.mark.parametrize("shape", ((6, 6), (7, 7), (8, 6), (7, 11)))
def test_turned_by_a_quarter_is_rot90(shape):
    """By (column, row) → (−row, column): counterclockwise, as rot90 and as the eye sees it with rows downwards."""
    x = torch.zeros(1, *shape)
    rows, cols = shape
    side = min(shape)
    middle = slice((rows - side) // 2, (rows + side) // 2), slice((cols - side) // 2, (cols + side) // 2)
    x[(0, *middle)] = torch.rand(side, side, generator=generator())
    expected = torch.zeros(1, *shape)
    expected[(0, *middle)] = torch.rot90(x[(0, *middle)])
    found = rotate(x, torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]))
    assert found.shape == x.shape
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-5
    )  # float32 positions, to 1e-7 of the width, between pixels that differ by 1
    assert float(expected.max()) > 0.5  # and something is there


@pytest.mark.parametrize("shape", ((6, 6), (7, 5), (4, 9)))
def test_mirrors_flip(shape):
    x = torch.rand(3, *shape, generator=generator())
    matrices = torch.stack([torch.diag(torch.tensor(d)) for d in ((1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))])
    expected = torch.stack([x[0].flip(0), x[1].flip(1), x[2].flip(0, 1)])
    torch.testing.assert_close(rotate(x, matrices), expected, rtol=0, atol=1e-5)  # float32 positions


@pytest.mark.parametrize("shape", ((64, 64), (65, 65), (64, 48), (41, 64)))
def test_turning_there_and_back(shape):
    x, matrices = smooth_noise(*shape, 8), random_rotations(8, generator())
    back = rotate(rotate(x, matrices), matrices.mT)
    assert back.shape == x.shape
    assert (
        float(differences(back, x).max()) < 0.05
    )  # .02 to .03 measured, of bicubic interpolation twice; turned once, it is above 1
    assert float(differences(rotate(x, matrices), x).min()) > 0.5


def test_what_lies_outside_is_zero():
    x = torch.ones(1, 32, 32)
    found = rotate(x, random_rotations(1, generator(1)))
    y, x = grid(32, 32)
    far = torch.hypot(y, x) < 13
    torch.testing.assert_close(found[0][far], torch.ones_like(found[0][far]), rtol=0, atol=1e-5)  # float32
    assert float(found[0, 0, 0]) == 0 and float(found[0, -1, -1]) == 0


# The frequencies that a scan measures


@pytest.mark.parametrize("shape", ((128, 128), (96, 128), (97, 131)))
@pytest.mark.parametrize("first", (0, 17, 100))
def test_share_of_the_frequencies(shape, first):
    found = measured_frequencies(degrees(first, first + 120), shape)
    assert (
        tuple(found.shape) == (1, shape[0], shape[1] // 2 + 1) and float(found.min()) == 0 and float(found.max()) == 1
    )
    twice = torch.full((shape[1] // 2 + 1,), 2.0)  # those that rfft leaves out are those of the other side
    twice[0] = 1
    if shape[1] % 2 == 0:
        twice[-1] = 1
    disc = (
        torch.hypot(torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])) < 0.5
    )  # the corners belong to one side or the other
    share = float((found[0] * twice)[disc].sum() / twice.expand_as(disc)[disc].sum())
    assert 2 / 3 < share < 2 / 3 + 0.04  # four borders that fall to 0 over 2 steps add 4/(64 π) = .02
    assert (found[0, :2, 0] == 1).all()  # the mean, and next to it


@pytest.mark.parametrize("theta", (degrees(0, 180), degrees(0, 180, 3) + 1.0, degrees(0, 360, 2)))
def test_a_full_turn_measures_all(theta):
    assert (measured_frequencies(theta, (32, 33)) == 1).all()


@pytest.mark.parametrize("first", (0, 20, -35, 100))
def test_frequencies_by_the_fourier_slice_theorem(first):
    """A wave in a Gaussian window whose wave vector is that of projection θ, (cos θ, −sin θ) in (column, row): what the projector sees of it is kept.

    Its spectrum is 0.02 cycles per pixel wide at 0.2, which is 6°.
    """
    y, x = grid(64, 64)
    theta = degrees(first, first + 120, 2)
    model, frequencies = ParallelBeamProjector(64, theta, 64), measured_frequencies(theta, (64, 64))
    for direction, measured in ((60, True), (30, True), (95, True), (150, False), (143, False), (157, False)):
        angle = math.radians(first + direction)
        wave = torch.exp(-(x**2 + y**2) / (2 * 8**2)) * torch.cos(
            2 * math.pi * 0.2 * (x * math.cos(angle) - y * math.sin(angle))
        )
        seen = float(model.forward_project(wave[None]).norm() / wave.norm()) / math.sqrt(len(theta))
        share = float(kept(wave, frequencies).norm() / wave.norm())
        if measured:
            assert seen > 1.2 and share > 0.99  # 1.37 and more, 1.000
        else:
            assert (
                seen < 0.12 and share < 0.15
            )  # tails of the window: .02 in the middle of the wedge, below .1 at 7° from it


def test_frequencies_of_turned_images():
    """What is kept, then turned, is what is turned and then kept by the turned mask."""
    theta, matrices = degrees(0, 90), random_rotations(8, generator())
    x = smooth_noise(64, 64, 8)
    plain, frequencies = measured_frequencies(theta, (64, 64)), measured_frequencies(theta, (64, 64), matrices)
    assert tuple(frequencies.shape) == (8, 64, 33)
    found, expected = rotate(kept(x, plain), matrices), kept(rotate(x, matrices), frequencies)
    assert (
        float(differences(found, expected).max()) < 0.12
    )  # .06 to .07 measured: interpolation, corners, borders of the mask
    for wrong in (plain, measured_frequencies(theta, (64, 64), matrices.mT)):
        rotations = differences(found, kept(rotate(x, matrices), wrong))[::2]  # a mirror is its own inverse
        assert float(rotations.min()) > 0.3  # .38 to 1.01 measured


def test_frequencies_of_images_that_are_not_turned():
    theta = degrees(10, 100)
    torch.testing.assert_close(
        measured_frequencies(theta, (20, 31), torch.eye(2)[None]), measured_frequencies(theta, (20, 31))
    )
    torch.testing.assert_close(
        measured_frequencies(theta, (20, 31), -torch.eye(2)[None]), measured_frequencies(theta, (20, 31))
    )  # half a turn


# The network


@pytest.mark.parametrize("shape", ((32, 32), (33, 33), (31, 20), (17, 40), (5, 7)))
def test_network_changes_nothing_before_its_first_step(shape):
    x = torch.randn(3, 2, *shape, generator=generator())
    assert torch.equal(WedgeNetwork(generator())(x), x[:, 0])


def other_than_zero(network):
    with torch.no_grad():
        network.out.weight.normal_(generator=generator(9))
    return network


@pytest.mark.parametrize("shape", ((32, 32), (33, 31), (18, 41)))
def test_network_sees_each_image_alone(shape):
    network, x = other_than_zero(WedgeNetwork(generator())), torch.randn(3, 2, *shape, generator=generator())
    with torch.no_grad():
        together = network(x)
        assert together.shape == (3, *shape) and float((together - x[:, 0]).abs().max()) > 0.01  # it does something
        for k in range(3):
            torch.testing.assert_close(
                network(x[k : k + 1])[0], together[k], rtol=1e-4, atol=1e-4
            )  # float32, sums in another order


def test_network_looks_at_both_inputs():
    network, x = other_than_zero(WedgeNetwork(generator())), torch.randn(1, 2, 32, 32, generator=generator())
    with torch.no_grad():
        change = network(x) - x[:, 0]
        for channel in (0, 1):
            other = x.clone()
            other[:, channel] = 0
            assert float((network(other) - other[:, 0] - change).abs().max()) > 0.01


def test_networks_weights_are_those_of_its_seed():
    one, same, other = (list(WedgeNetwork(generator(seed)).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_all_weights_learn():
    network, x = other_than_zero(WedgeNetwork(generator())), torch.randn(1, 2, 33, 31, generator=generator())
    network(x).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())


# Learning


def learned(measurement, image, options, seed=0, callback=None, last_solve=None):
    """The images that learning gives."""
    stage = WedgeLearning(measurement, options.resolved.wedge_rounds, seed)
    return stage.run(image, StageProgress("learn", callback), last_solve)


def test_learning_repeats_for_a_seed(small_case, brief, begun):
    measurement, image, options = begun(small_case, **BRIEF)
    first, again, other = (learned(measurement, image, options, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 1e-5  # another network, other copies
    assert float((first - image).abs().max()) > 1e-4 and first.isfinite().all()
    assert float(first.min()) >= 0 and (first[0][measurement.constraints.support == 0] == 0).all()


def test_random_states_are_left_alone(small_case, brief, begun):
    measurement, image, options = begun(small_case, **BRIEF)
    kept_image, torch_state, numpy_state = image.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    expected = learned(measurement, image, options)
    assert torch.equal(torch.get_rng_state(), torch_state) and np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(image, kept_image)
    torch.manual_seed(123)
    assert torch.equal(learned(measurement, image, options), expected)


@pytest.mark.parametrize("lessons", (1, 2))
def test_learning_tells_each_step(small_case, brief, begun, lessons):
    measurement, image, options = begun(small_case, **BRIEF | dict(wedge_rounds=lessons))
    calls = []
    learned(measurement, image, options, callback=lambda status: calls.append(1))
    # To a copy: 10 iterations and a round of 5; 6 steps of training; 80 of the solve.
    assert len(calls) == WedgeLearning(measurement, lessons, 0).steps == lessons * (10 + 5 + 6 + WEDGE_ITERATIONS)


@pytest.mark.parametrize("stop", (1, 12, 18, 40, 101 + 12, 101 + 18))
def test_learning_stops_where_it_is_told(small_case, brief, begun, stop):
    """While the copies are reconstructed, while the network learns, while its answer is solved for, and in the second lesson."""
    measurement, image, options = begun(small_case, **BRIEF | dict(wedge_rounds=2))
    calls = []
    found = learned(measurement, image, options, callback=lambda status: calls.append(1) or len(calls) >= stop)
    assert found.shape == image.shape and found.isfinite().all()
    # Where two solvers take turns each asks on its own, but it's no more than a handful of calls.
    assert stop <= len(calls) <= stop + 5
    assert torch.equal(found, image) == (stop < 22)  # nothing has been repaired before the first solve
    assert float((found - image).norm() / image.norm()) < 0.5


def test_the_last_solve_may_be_the_callers_own(small_case, brief, begun):
    measurement, image, options = begun(small_case, **BRIEF | dict(wedge_rounds=2))
    seen = []

    def solve(answer, progress):
        seen.append(answer.clone())
        return image + 1

    result = learned(measurement, image, options, last_solve=solve)
    assert len(seen) == 1 and torch.equal(result, image + 1)
    assert not seen[0].requires_grad and (seen[0][0][measurement.constraints.support == 0] == 0).all()


# Through the fit


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
    # The solve ends with the data as the start did, with edges of the network's and a pull in the frequencies not measured: 1.02 measured.
    assert info["residual"] < 1.1 * info["start_residual"]
    assert info["stopped"] == "finished" and info["iteration"] == 0
    mask = field_of_view(model)
    assert float(result.image.min()) >= 0 and (result.image[0][measurement.constraints.support == 0] == 0).all()


def test_residual_is_that_of_the_image(small_case, brief):
    result = run(small_case, **BRIEF | dict(pixel_model="point"))
    residual = float(
        (small_case.model.forward_project(result.image) - small_case.sinogram).norm() / small_case.sinogram.norm()
    )
    assert result.info[0]["residual"] == pytest.approx(
        residual, rel=1e-3
    )  # float32: the residual is a thousandth of the data
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
def test_learning_with_other_options(small_case, brief, options):
    result = run(small_case, **BRIEF | options)
    assert result.image.shape == (1, 32, 32) and result.image.isfinite().all() and not result.image.requires_grad
    assert not torch.equal(result.image, result.start)
    assert math.isfinite(result.info[0]["residual"]) and result.info[0]["residual"] < 0.1  # .03 at most measured
    if "nonnegative" not in options:
        assert float(result.image.min()) >= 0


@pytest.mark.parametrize("size", ((33, 33), (40, 31), (28, 37)))
def test_learning_on_grids_of_any_shape(small_case, brief, size):
    model = ParallelBeamProjector(size, small_case.theta, 32, center=15.2)
    result = run(small_case._replace(model=model), **BRIEF)
    assert (
        tuple(result.image.shape[1:]) == size
        and result.image.isfinite().all()
        and not torch.equal(result.image, result.start)
    )


def test_learning_is_free_of_units(small_case, brief):
    """To the last bit for a power of two: no step of it knows the units."""
    one, eight = run(small_case, **BRIEF), run(small_case._replace(sinogram=8 * small_case.sinogram), **BRIEF)
    assert torch.equal(eight.image, 8 * one.image)
    assert eight.info[0]["residual"] == one.info[0]["residual"]


def test_callback_sees_each_step_of_learning(small_case, brief):
    seen = []
    run(small_case, callback=seen.append, **BRIEF)
    lessons = [s for s in seen if s.stage == "learn"]
    assert seen[-len(lessons) :] == lessons and {s.stage for s in seen} == {
        "start",
        "learn",
    }  # no fit, unless it is asked for
    total = 10 + 5 + 6 + WEDGE_ITERATIONS
    assert [s.iteration for s in lessons] == list(range(1, total + 1)) and {s.total for s in lessons} == {total}


@pytest.mark.parametrize("stop", (1, 18, 60))
def test_callback_stops_learning(small_case, brief, stop):
    result = run(
        small_case, callback=lambda s: s.stage == "learn" and s.iteration >= stop, uncertainty_samples=2, **BRIEF
    )
    assert result.info[0]["stopped"] == "callback" and "uncertainty" not in result.info[0]
    assert result.image.isfinite().all()
    assert (
        mssim(small_case.truth[0], result.image[0]) > mssim(small_case.truth[0], result.start[0]) - 0.05
    )  # what it has, at a low cost


def test_a_fit_comes_first_where_it_is_asked_for(small_case, brief):
    stages = []
    run(small_case, callback=lambda s: stages.append(s.stage), **BRIEF | dict(num_iter=5))
    assert list(dict.fromkeys(stages)) == ["start", "fit", "learn"]


@pytest.mark.parametrize(("last", "missing"), ((180, False), (177, False), (175, True), (120, True), (60, True)))
def test_has_missing_wedge(last, missing):
    assert has_missing_wedge(ParallelBeamProjector(16, degrees(0, last), 16)) == missing


def test_a_model_without_angles_has_nothing_to_be_turned_against():
    assert not has_missing_wedge(object())


def test_a_full_half_turn_is_left_alone(shale_case):
    seen = []
    case = shale_case(size=32, wedge=180, step=2)
    result = run(case, callback=lambda s: seen.append(s.stage), **BRIEF)
    assert set(seen) == {"start"} and torch.equal(result.image, result.start)


# Slices of a batch


def three(shale_case):
    case = shale_case(size=32, step=2)
    cases = [case, shale_case(size=32, step=2, seed=1), shale_case(size=32, step=2, seed=2)]
    return case._replace(
        truth=np.concatenate([c.truth for c in cases]), sinogram=torch.cat([c.sinogram for c in cases])
    )


def test_slices_of_a_batch_learn_each_on_its_own(shale_case, brief, monkeypatch):
    """Without a stack the slices are independent: the batch must not decide what they are taught."""
    monkeypatch.setattr(wedge_learning, "TRAINING_STEPS", 40)
    case = three(shale_case)
    options = dict(BRIEF, noise=1e-2)
    together = run(case, **options)
    for k in range(3):
        alone, other = (run(case._replace(sinogram=case.sinogram[k : k + 1]), **options, seed=seed) for seed in (0, 1))
        # Sums in another order, amplified by training; a network that has learned something else makes as much of a difference as another seed.
        assert (together.image[k] - alone.image[0]).norm() < 0.2 * (other.image[0] - alone.image[0]).norm()


def test_slices_that_are_solved_jointly_share_their_network(shale_case, brief, monkeypatch):
    case, seen = three(shale_case), []
    monkeypatch.setattr(WedgeLearning, "run", lambda self, x, *rest: seen.append(len(x)) or x)
    run(case, **BRIEF, joint_slices=3)
    assert seen == [3]


@pytest.mark.parametrize("stack", (1, 2))
def test_learning_without_signal_gives_zero(small_case, brief, stack):
    sinogram = torch.zeros_like(small_case.sinogram).expand(stack, -1, -1)
    result = run(small_case._replace(sinogram=sinogram), joint_slices=stack, **BRIEF)
    assert torch.equal(result.image, torch.zeros(stack, 32, 32))
    assert all(math.isfinite(info["residual"]) for info in result.info)


@pytest.mark.parametrize("stack", (1, 3))
def test_a_slice_without_signal_does_not_harm_the_others(shale_case, brief, stack):
    case = three(shale_case)
    sinogram = case.sinogram.clone()
    sinogram[1] = 0
    result = run(case._replace(sinogram=sinogram), joint_slices=stack, noise=1e-2, **BRIEF)
    assert result.image.isfinite().all() and all(math.isfinite(info["residual"]) for info in result.info)
    for k in (0, 2):
        assert mssim(case.truth[k], result.image[k]) > 0.5


# The caller's world


def test_the_default_dtype_does_not_matter(small_case, brief, monkeypatch):
    """The same random numbers are drawn: what remains are filters computed more exactly, less than another seed would change."""
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
def test_learns_where_the_caller_records_no_gradients(small_case, brief, context):
    expected = run(small_case, **BRIEF).image
    with context():
        result = run(small_case._replace(sinogram=small_case.sinogram.clone()), **BRIEF)
    assert torch.equal(result.image, expected)
