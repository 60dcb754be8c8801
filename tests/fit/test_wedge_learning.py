"""The missing wedge's effect learned from the scan: rotated copies, training, and what it does to a slice."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_cases import run
from wedge_cases import degrees

from tomopy_ganrec.fit import fit, wedge_learning
from tomopy_ganrec.fit.reweighted_tv import WEDGE_ITERATIONS, fill_missing_wedge
from tomopy_ganrec.fit.rotations import rotate
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.fit.wedge_learning import WedgeLearning, WedgeTrainer, copies_of
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.wedge import measured_frequencies

BRIEF = dict(pixel_model="area", reweight_rounds=1, wedge_rounds=1)  # where behaviour matters, not quality
# Iterations of a round with `brief_learning`: of a copy 10 and a round of 5; 6 training steps. And of a solve between
# two rounds.
ROUND_STEPS, SOLVE_STEPS = 10 + 5 + 6, 3 * 28


@pytest.mark.parametrize("first", (0, 20, -60))
def test_no_copy_has_the_missing_wedge_of_the_scan(shale_case, brief_learning, measured_start, monkeypatch, first):
    """Frequencies that are missing in a copy, too, cannot be learned from it.

    These are 35/60 of the missing frequencies at most, for a rotation by 25°, before or after a mirror about the middle
    of the wedge.
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
        shares.append((missing * (1 - measured)).sum((1, 2)) / missing.sum())
    assert float(torch.stack(shares).max()) < 0.7  # .58 and the soft borders; .61 at most measured


def learned(measurement, image, options, seed=0, callback=None):
    """The network's answer."""
    stage = WedgeLearning(measurement, options.resolved.wedge_rounds, seed)
    return stage.run(image, StageProgress("learn", callback))[0]


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
    # The solve after the last round is the caller's.
    assert (
        len(calls) == WedgeLearning(measurement, rounds, 0).steps == rounds * ROUND_STEPS + (rounds - 1) * SOLVE_STEPS
    )


@pytest.mark.parametrize("stop", (1, 12, 18, 40, ROUND_STEPS + SOLVE_STEPS + 12, ROUND_STEPS + SOLVE_STEPS + 18))
def test_learning_stops_at_any_step(small_case, brief_learning, measured_start, stop):
    """While copies are reconstructed, while the network is trained, in the solve, and in the second round."""
    measurement, image, options = measured_start(small_case, **BRIEF | dict(wedge_rounds=2))
    calls = []
    result = learned(measurement, image, options, callback=lambda status: calls.append(1) or len(calls) >= stop)
    # Nested loops may each report once more after a stop, but no more than a handful of times.
    assert stop <= len(calls) <= stop + 5
    assert torch.equal(result, image)


# Whether it helps, and by how much


class Trainer(WedgeTrainer):
    """A trainer whose network adds a share of the error of the copies that it is shown, and nothing to a slice."""

    share = 0.5

    def training_pairs(self, x, progress):
        self.pairs = super().training_pairs(x, progress)
        self.network = self._error
        return self.pairs

    def train(self, pairs, delta, peak_rate, progress):
        pass

    def _error(self, inputs):
        if len(inputs) == 1:
            return inputs[:, 0]
        truth = self.pairs.truth[: len(inputs)]
        return inputs[:, 0] + self.share * (truth - inputs[:, 0])


@pytest.mark.parametrize(("share", "weight"), ((0.5, 1), (1, 1), (2, 0.5), (4, 0.25), (-1, 0)))
def test_the_weight_is_what_repairs_copies_best(small_case, brief_pairs, measured_start, monkeypatch, share, weight):
    """A change of `share` times what is missing is right by the factor 1/share, and never more than the whole of it."""
    measurement, image, _ = measured_start(small_case, **BRIEF | dict(nonnegative=False))
    monkeypatch.setattr(Trainer, "share", share)
    trainer = Trainer(measurement, 0)
    pairs = trainer.training_pairs(image, StageProgress("learn"))
    with torch.no_grad():
        assert trainer.weight(pairs) == pytest.approx(weight, abs=1e-3)  # float32


@pytest.mark.parametrize("rounds", (1, 2))
@pytest.mark.parametrize("share", (0.5, -1))
def test_a_network_that_does_not_help_is_left_out(small_case, brief_pairs, measured_start, monkeypatch, rounds, share):
    measurement, image, _ = measured_start(small_case, **BRIEF)
    monkeypatch.setattr(Trainer, "share", share)
    monkeypatch.setattr(wedge_learning, "WedgeTrainer", Trainer)
    answer, weight = WedgeLearning(measurement, rounds, 0).run(image, StageProgress("learn"))
    assert (weight > 0.5) == (share > 0)
    if share < 0:
        assert weight == 0 and torch.equal(answer, image)


def test_where_learning_does_not_help_the_image_is_the_one_without(small_case, brief_pairs, monkeypatch):
    monkeypatch.setattr(WedgeTrainer, "weight", lambda self, pairs: 0.05)
    result = run(small_case, **BRIEF)
    assert torch.equal(result.image, result.start) and result.info[0]["stopped"] == "finished"
    assert result.info[0]["network_weight"] == 0
    assert run(small_case, **BRIEF | dict(wedge_rounds=0)).info[0]["network_weight"] is None


def test_the_answer_is_weighed(small_case, brief_pairs, measured_start, monkeypatch):
    measurement, image, options = measured_start(small_case, **BRIEF)
    answers = []
    for weight in (1.0, 0.5):
        monkeypatch.setattr(WedgeTrainer, "weight", lambda self, pairs, weight=weight: weight)
        answers.append(learned(measurement, image, options))
    # float32; the change is .01 and more
    torch.testing.assert_close(answers[1], (answers[0] + image) / 2, rtol=0, atol=1e-5)


def test_answers_and_copies_keep_the_bound(small_case, brief_pairs, measured_start, monkeypatch):
    measurement, image, options = measured_start(small_case, **BRIEF | dict(wedge_rounds=2))
    bound = torch.full((1, 1, 1), 0.8 * float(image.max()))
    bounded = replace(measurement, constraints=replace(measurement.constraints, maximum=bound))
    monkeypatch.setattr(WedgeTrainer, "weight", lambda self, pairs: 1.0)
    start = bounded.constraints.project(image)
    pairs = WedgeTrainer(bounded, 0).training_pairs(start, StageProgress("learn"))
    answer = learned(bounded, start, options)
    limit = float(bound) * (1 + 1e-6)  # float32
    for x in (pairs.truth, pairs.inputs[:, 0], answer, fill_missing_wedge(bounded, 2 * answer, start)):
        assert 0.99 * float(bound) < float(x.max()) <= limit


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
    assert after > before + 0.0095  # two thirds of what is measured, .5841 to .5984
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
    assert [s.iteration for s in learning] == list(range(1, ROUND_STEPS + WEDGE_ITERATIONS + 1))
    assert {s.total for s in learning} == {ROUND_STEPS + WEDGE_ITERATIONS}


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


@pytest.mark.parametrize("joint_slices", (1, 3))
def test_slices_of_a_batch_share_their_network(three_slices, brief_learning, monkeypatch, joint_slices):
    seen = []
    monkeypatch.setattr(WedgeLearning, "run", lambda self, x, progress: seen.append(len(x)) or (x, 0.0))
    result = run(three_slices, **BRIEF, joint_slices=joint_slices)
    assert seen == [3] and torch.equal(result.image, result.start)


def test_a_batch_repeats_whatever_was_fitted_before(three_slices, brief_learning):
    """What a slice becomes depends on the slices of its batch, not on what else a worker has fitted."""
    first = run(three_slices, **BRIEF).image
    run(three_slices._replace(sinogram=three_slices.sinogram[1:]), **BRIEF)
    assert torch.equal(run(three_slices, **BRIEF).image, first)


@pytest.mark.parametrize(
    ("count", "size", "copies"), ((1, 128, 8), (1, 256, 8), (1, 64, 32), (1, 32, 32), (8, 128, 16), (50, 256, 32))
)
def test_small_slices_and_many_have_more_copies(count, size, copies):
    assert copies_of(torch.zeros(count, size, size)) == copies


def test_all_slices_take_their_turn(three_slices, brief_learning, measured_start, monkeypatch):
    """Copies of a later round go on with the slices that had none."""
    monkeypatch.setattr(wedge_learning, "COPIES", 2)
    monkeypatch.setattr(wedge_learning, "MOST_COPIES", 2)
    measurement, image, _ = measured_start(three_slices, **BRIEF)
    rotated = []
    monkeypatch.setattr(wedge_learning, "rotate", lambda x, matrices: rotated.append(x.clone()) or rotate(x, matrices))
    trainer = WedgeTrainer(measurement, 0)
    for _ in range(3):
        trainer.training_pairs(image, StageProgress("learn"))
    expected = image[torch.tensor([0, 1, 2, 0, 1, 2])]
    assert torch.equal(torch.cat(rotated), expected)


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
