"""Fits with masks, of all slices and of each, through every stage: nothing outside, and the object is not cut."""

import numpy as np
import pytest
import torch
from fit_cases import DenseModel, pixel_offsets

from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.rotations import rotate
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.total_variation import TotalVariation

N = 48
QUICK = dict(num_iter=3, reweight_rounds=1)
STAGES = (
    dict(QUICK),
    dict(QUICK, init="sirt"),
    dict(QUICK, init="fbp"),
    dict(QUICK, init="none"),
    dict(QUICK, levels="auto"),
    dict(QUICK, num_iter=0, pixel_model="area", grid_factor=2),
    dict(QUICK, num_iter=0, wedge_rounds=1),
    dict(QUICK, num_iter=0, pixel_model="area", grid_factor=2, wedge_rounds=1, joint_slices=2),
    dict(preset="paper", num_iter=2),
)


@pytest.fixture(scope="module")
def scan():
    """Two bodies with holes, their masks, and their sinograms over 90°."""
    y, x = pixel_offsets(N)
    bodies = np.stack([np.hypot(y - 3, x + 4) < 13, np.abs(y + 2) + np.abs(x) < 15])
    holes = np.hypot(y % 8 - 4, x % 8 - 4) < 2
    truth = torch.from_numpy((bodies & ~holes).astype(np.float32) * 0.02)
    masks = np.stack([np.hypot(y - 3, x + 4) < 15, np.abs(y + 2) + np.abs(x) < 18])
    model = ParallelBeamProjector(N, np.deg2rad(np.arange(0, 90, 3.0)), N)
    return truth, masks, model.forward_project(truth), model


@pytest.mark.filterwarnings("ignore:.*levels")
@pytest.mark.parametrize("options", STAGES, ids=str)
def test_nothing_lies_outside_of_a_mask(scan, options, monkeypatch):
    monkeypatch.setattr("tomopy_ganrec.fit.wedge_learning.TRAINING_STEPS", 2)
    truth, masks, sinogram, model = scan
    each = fit(model, sinogram, GanrecOptions(mask=masks, **options)).image
    both = fit(model, sinogram, GanrecOptions(mask=masks.any(0), **options)).image
    assert not each[~torch.from_numpy(masks)].any()
    assert not both[:, ~torch.from_numpy(masks.any(0))].any()
    for k in range(2):
        # The other one's mask has pixels of its own, which this slice does not have.
        assert each[k][torch.from_numpy(masks[k])].any()
    if options.get("joint_slices", 1) == 1 and "preset" not in options:
        alone = fit(model, sinogram[1:], GanrecOptions(mask=masks[1:], **options)).image
        # With other slices a slice is the same to 1e-4, as the docstring of `batch_size` says.
        assert float((alone[0] - each[1]).norm()) <= 2e-4 * float(each[1].norm())


def test_a_mask_helps_where_much_is_not_measured(scan):
    truth, masks, _, _ = scan
    model = ParallelBeamProjector(N, np.deg2rad(np.arange(0, 40, 2.0)), N)
    sinogram = model.forward_project(truth)
    sinogram = sinogram + 0.01 * sinogram.max() * torch.randn(
        sinogram.shape, generator=torch.Generator().manual_seed(0)
    )
    plain, masked, outlined = (
        fit(model, sinogram, GanrecOptions(num_iter=0, pixel_model="point", max_attenuation=None, mask=mask)).image
        for mask in (True, masks, "outline")
    )
    errors = [float((image - truth).norm() / truth.norm()) for image in (plain, masked, outlined)]
    # Half of what is measured, .378 to .350 and .366.
    assert errors[1] < errors[0] - 0.014 and errors[2] < errors[0] - 0.006


def test_the_disc_as_an_array_is_the_disc(scan):
    _, _, sinogram, model = scan
    disc = field_of_view(model).numpy()
    results = [
        fit(model, sinogram, GanrecOptions(mask=mask, **QUICK)).image for mask in (True, disc, np.stack([disc] * 2))
    ]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_units_do_not_depend_on_the_mask(scan):
    """λ and ε are relative to the scale of the data, whatever the mask."""
    _, masks, sinogram, model = scan
    records = [fit(model, sinogram, GanrecOptions(mask=mask, **QUICK)).info for mask in (True, masks, "outline")]
    assert records[0][0]["tv_weight"] == pytest.approx(records[1][0]["tv_weight"], rel=0.3)
    assert "outline" not in records[0][0] and "outline" not in records[1][0]
    assert {record["outline"] for record in records[2]} <= {"circle", "ellipse", "hull"}


def test_warm_starts_and_uncertainties_have_each_slice_its_mask(scan):
    _, masks, sinogram, model = scan
    options = GanrecOptions(mask=masks, uncertainty_samples=2, **QUICK)
    first = fit(model, sinogram, options)
    warm = fit(model, sinogram, options, init=torch.ones_like(first.image) * 0.01 + first.image, near=first.info)
    outside = ~torch.from_numpy(masks)
    for result in (first, warm):
        assert not result.image[outside].any()
        for k in range(2):
            deviation = torch.from_numpy(result.info[k]["uncertainty"])
            assert not deviation[outside[k]].any() and deviation[~outside[k]].any()


def test_slices_of_different_groups_have_each_its_mask(scan):
    """Of a batch one slice starts warm, one has a neighbour that does not explain it, and one starts from scratch."""
    _, masks, sinogram, model = scan
    alone = fit(model, sinogram, GanrecOptions(mask=masks, **QUICK))
    order = [0, 1, 1, 0]
    options = GanrecOptions(mask=masks[order], **QUICK)
    near = [None, alone.info[1], alone.info[1], alone.info[0]]
    init = alone.image[[0, 1, 0, 0]]  # the third is another object
    result = fit(model, sinogram[order], options, init=init, near=near)
    assert [record["warm"] for record in result.info] == [False, True, False, True]
    inside = torch.from_numpy(masks[order])
    assert not result.image[~inside].any()
    for k, other in enumerate(order):
        # From whatever start: a quick reconstruction is within some percent of another one.
        assert float((result.image[k] - alone.image[other]).norm()) < 0.3 * float(alone.image[other].norm())


def test_other_shapes_are_refused(scan):
    _, masks, sinogram, model = scan
    for mask, options in ((masks[:1], {}), (masks[:, 1:], {}), (masks[0, :, 1:], dict(preset="paper"))):
        with pytest.raises(ValueError, match="option mask has shape .* 2 slices of 48 rows and 48 columns"):
            fit(model, sinogram, GanrecOptions(mask=mask, **options))


def test_an_outline_needs_angles():
    model = DenseModel()
    with pytest.raises(ValueError, match="no projection angles"):
        fit(model, torch.ones(1, *model.range_shape), GanrecOptions(mask="outline", **QUICK))
    mask = np.eye(*model.domain_shape)
    image = fit(model, torch.ones(1, *model.range_shape), GanrecOptions(mask=mask, **QUICK)).image
    assert image.any() and not image[0][torch.from_numpy(mask) == 0].any()


def test_a_finer_grid_has_the_same_mask(scan):
    _, masks, sinogram, model = scan
    fine = model.resampled(pixel_size=0.5)
    for mask, expected in (
        (masks, torch.from_numpy(masks).float().repeat_interleave(2, 1).repeat_interleave(2, 2)),
        (True, field_of_view(fine)),
        (False, None),
    ):
        finer = Constraints.of_slices(model, sinogram, GanrecOptions(mask=mask)).on_finer_grid(fine, 2)
        assert finer.support is expected if expected is None else torch.equal(finer.support, expected)


def test_rotated_copies_have_rotated_masks(scan):
    _, masks, sinogram, model = scan
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]).expand(3, 2, 2)
    constraints = Constraints.of_slices(model, sinogram, GanrecOptions(mask=masks))
    owner = torch.tensor([1, 0, 1])
    copies = constraints.of_copies(owner, lambda support: rotate(support, turn))
    expected = torch.rot90(torch.from_numpy(masks[[1, 0, 1]]), -1, (1, 2)).float()
    assert torch.equal(copies.support, expected) or torch.equal(copies.support, torch.rot90(expected, 2, (1, 2)))
    disc = Constraints.of_slices(model, sinogram, GanrecOptions())
    assert torch.equal(disc.of_copies(owner, lambda support: 0 * support).support, field_of_view(model))


def test_a_solver_for_some_slices_takes_their_masks(scan):
    _, masks, sinogram, model = scan
    solver = TotalVariation(model, sinogram, mask=torch.from_numpy(masks).float())
    solver.run(1e-3, 3)
    other = solver.take(torch.tensor([1, 1, 0]))
    other.run(1e-3, 3)
    solver.run(1e-3, 3)
    torch.testing.assert_close(other.x, solver.x[[1, 1, 0]], rtol=0, atol=1e-6)  # float32
    assert not other.x[~torch.from_numpy(masks[[1, 1, 0]])].any()
