"""The record of a slice as JSON, and its fields under earlier names."""

import json
from dataclasses import fields, replace

import pytest

from tomopy_ganrec.slice_record import SliceRecord, renamed_record

RECORD = SliceRecord(
    pixel_model="point",
    noise=0.1,
    relative_noise=0.02,
    residual_level=0.03,
    noise_level=0.01,
    tv_weight=0.5,
    edge_threshold=0.25,
    wedge_tv_weight=1.0,
    reweight_rounds=3,
    loss="l2",
    warm=True,
    warm_rounds=2,
    iteration=40,
    objective=1.5,
    residual=0.04,
    start_objective=2.5,
    start_residual=0.05,
    levels=[0.0, 1.0],
    stopped="plateau",
    max_attenuation=0.8,
    bound_origin="found",
    bound_rise=0.002,
)
# Fields that came later, and what a record without them has.
LATER = {"max_attenuation": None, "bound_origin": None, "bound_rise": None, "network_weight": None}
OLD = {
    "pixels": ("pixel_model", "box", "point"),
    "strength": ("tv_weight", 0.5, 0.5),
    "epsilon": ("edge_threshold", 0.25, 0.25),
    "along": ("wedge_tv_weight", 1.0, 1.0),
    "level": ("residual_level", 0.03, 0.03),
    "low": ("noise_level", 0.01, 0.01),
    "rounds": ("reweight_rounds", 3, 3),
    "spread": ("uncertainty", 0.2, 0.2),
}


def test_a_record_survives_json():
    written = json.loads(json.dumps(RECORD.to_json()))
    assert list(written) == [field.name for field in fields(SliceRecord)]
    assert SliceRecord.from_json(written) == RECORD
    assert SliceRecord.from_json(written | {"center": 8.0, "device": "cpu"}) == RECORD  # a journal keeps more


@pytest.mark.parametrize("name", [field.name for field in fields(SliceRecord) if field.name not in LATER])
def test_a_record_that_lacks_a_field_is_none(name):
    written = RECORD.to_json()
    del written[name]
    assert SliceRecord.from_json(written) is None


def test_a_record_from_before_a_field_came_is_read():
    before = {name: value for name, value in RECORD.to_json().items() if name not in LATER}
    assert SliceRecord.from_json(before) == replace(RECORD, **LATER)


def test_fields_are_renamed():
    old = {name: before for name, (_, before, _) in OLD.items()} | {"noise": 0.1, "level_of_noise": 7}
    given = dict(old)
    present = {name: now for name, _, now in OLD.values()} | {"noise": 0.1, "level_of_noise": 7}
    assert renamed_record(given) == present
    assert given == old  # a copy is returned
    assert renamed_record(present) == present  # the present names stay


@pytest.mark.parametrize(("before", "now"), (("mean", "area"), ("box", "point"), ("area", "area"), (None, None)))
def test_pixel_models_are_renamed(before, now):
    assert renamed_record({"pixels": before}) == {"pixel_model": now}
    assert renamed_record({"pixel_model": before}) == {"pixel_model": now}


def test_a_record_under_the_old_names_is_the_same_record():
    names = {now: before for before, (now, _, _) in OLD.items()}
    old = {names.get(name, name): value for name, value in RECORD.to_json().items()} | {"pixels": "box"}
    assert SliceRecord.from_json(old) is None
    assert SliceRecord.from_json(renamed_record(old)) == RECORD
