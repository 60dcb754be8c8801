"""Options: documented, resolved from preset and quality, and taken from dictionaries."""

import dataclasses
import inspect
import pickle
import re

import numpy as np
import pytest
from option_cases import CHOICES, NAMES, NOT_NEGATIVE, POSITIVE, SWITCHES, WHOLE

from tomopy_ganrec.options import GanrecOptions


def documented():
    """The names and descriptions of the docstring's Attributes section, in order."""
    section = inspect.getdoc(GanrecOptions).split("Attributes\n----------\n")[1]
    names, texts = [], []
    for line in section.splitlines():
        head = re.fullmatch(r"(\w+(?:, \w+)*) : (.+)", line)
        if head:
            names.append(head[1].split(", "))
            texts.append([head[2], ""])
        else:
            texts[-1][1] += line.strip()
    return {name: text for group, text in zip(names, texts, strict=True) for name in group}


def test_defaults_are_valid():
    assert GanrecOptions() == GanrecOptions.from_mapping() == GanrecOptions.from_mapping(None, {})


def test_option_cases_hold_every_option():
    assert {
        *WHOLE,
        *NOT_NEGATIVE,
        *POSITIVE,
        *SWITCHES,
        *CHOICES,
        "levels",
        "max_attenuation",
        "mask",
        "device",
        "callback",
        "warm_start",
        "gpu_list",
    } == set(NAMES)


def test_every_option_is_documented():
    attributes = documented()
    assert sorted(attributes) == sorted(NAMES)
    assert all(kind and len(description) > 10 for kind, description in attributes.values())


@pytest.mark.parametrize("name", CHOICES)
def test_documented_choices_are_those_accepted(name):
    assert re.findall(r"'(\w+)'", documented()[name][0]) == list(CHOICES[name])
    assert [getattr(GanrecOptions(**{name: value}), name) for value in CHOICES[name]] == list(CHOICES[name])


@pytest.mark.parametrize("name", [*WHOLE, *NOT_NEGATIVE, *POSITIVE])
def test_documented_limits_are_those_enforced(name):
    sign, limit = re.search(r"(>=?) (\d+)", documented()[name][0]).groups()
    assert (sign, limit) == (">" if name in POSITIVE else ">=", str(WHOLE.get(name, 0)))
    assert ("None" in documented()[name][0]) == (GanrecOptions.__dataclass_fields__[name].default is None)
    assert ("'auto'" in documented()[name][0]) == (GanrecOptions.__dataclass_fields__[name].default == "auto")


def test_documented_values_of_the_bound():
    kind, description = documented()["max_attenuation"]
    assert kind == "'auto', float or None, > 0" and GanrecOptions().max_attenuation == "auto"
    assert "None: no bound" in description


# None where 'auto' has nothing to look for: without a start image of total variation, and where x may be below 0.
@pytest.mark.parametrize(
    ("given", "expected"),
    (
        (dict(), "auto"),
        (dict(quality="best"), "auto"),
        (dict(levels="auto"), "auto"),
        (dict(joint_slices=3), "auto"),
        (dict(preset="paper"), None),
        (dict(nonnegative=False), None),
        *((dict(init=init), None) for init in ("sirt", "fbp", "none")),
        *((dict(init=init, max_attenuation=0.5), 0.5) for init in ("tv", "sirt", "fbp", "none")),
        (dict(max_attenuation=None), None),
    ),
    ids=str,
)
def test_the_bound_that_is_looked_for_or_given(given, expected):
    resolved = GanrecOptions(**given).resolved
    assert resolved.max_attenuation == expected and resolved.resolved == resolved


# As the docstring of `warm_iter` says; never more than the fit of a slice from scratch.
@pytest.mark.parametrize(
    ("given", "iterations"),
    (
        ({}, 25),
        ({"levels": "auto"}, 50),
        ({"init": "sirt"}, 50),
        ({"preset": "paper"}, 100),
        ({"num_iter": 7}, 7),
        ({"num_iter": 7, "preset": "paper"}, 7),
        ({"quality": "fast"}, 0),
        ({"warm_iter": 3}, 3),
        ({"warm_iter": 300, "preset": "paper"}, 300),
    ),
)
def test_iterations_of_a_warm_start(given, iterations):
    assert GanrecOptions(**given).resolved.warm_iter == iterations


def test_iterations_of_the_presets():
    assert GanrecOptions().resolved.num_iter == 50
    assert GanrecOptions(levels="auto").resolved.num_iter == GanrecOptions(init="sirt").resolved.num_iter == 100
    assert GanrecOptions(preset="paper").resolved.num_iter == 1000
    assert GanrecOptions(num_iter=0).resolved.num_iter == 0
    assert GanrecOptions(num_iter=7, preset="paper").resolved.num_iter == 7


# As the docstring says: (iterations, rounds of reweighting, rounds of wedge learning) where nothing is given.
@pytest.mark.parametrize(("quality", "spent"), (("fast", (0, 4, 0)), ("default", (50, 8, 0)), ("best", (0, 8, 2))))
def test_quality_sets_what_is_not_given(quality, spent):
    resolved = GanrecOptions(quality=quality).resolved
    assert (resolved.num_iter, resolved.reweight_rounds, resolved.wedge_rounds) == spent


@pytest.mark.parametrize("quality", ("fast", "default", "best"))
@pytest.mark.parametrize("value", (0, 3))
def test_what_is_given_is_kept_with_any_quality(quality, value):
    options = GanrecOptions(quality=quality, num_iter=value, reweight_rounds=value, wedge_rounds=value)
    resolved = options.resolved
    assert (resolved.num_iter, resolved.reweight_rounds, resolved.wedge_rounds) == (value, value, value)


def test_wedge_learning_and_joint_slices_replace_the_fit():
    assert [
        GanrecOptions(**given).resolved.num_iter
        for given in (dict(wedge_rounds=1), dict(wedge_rounds=0), dict(joint_slices=2), dict(joint_slices=1))
    ] == [0, 50, 0, 50]
    assert GanrecOptions(joint_slices=2, wedge_rounds=1, num_iter=7).resolved.num_iter == 7


def test_joint_slices_have_a_total_variation_across_and_single_ones_have_none():
    assert GanrecOptions().slice_tv_weight == 0
    assert GanrecOptions(joint_slices=1).slice_tv_weight == 0
    assert GanrecOptions(joint_slices=2).slice_tv_weight > 0


def test_the_paper_preset_keeps_its_iterations_with_any_quality():
    assert [
        GanrecOptions(preset="paper", quality=quality).resolved.num_iter for quality in ("fast", "default", "best")
    ] == [1000] * 3


# As the docstrings say: num_iter, warm_iter, reweight_rounds, wedge_rounds, grid_factor.
@pytest.mark.parametrize(
    ("given", "expected"),
    (
        (dict(), (50, 25, 8, 0, 1)),
        (dict(quality="fast"), (0, 0, 4, 0, 1)),
        (dict(quality="best"), (0, 0, 8, 2, 2)),
        (dict(levels="auto"), (100, 50, 8, 0, 1)),
        (dict(levels=(0, 1)), (100, 50, 8, 0, 1)),
        (dict(init="sirt"), (100, 50, 8, 0, 1)),
        (dict(levels="auto", quality="fast"), (0, 0, 4, 0, 1)),
        (dict(levels="auto", quality="best"), (0, 0, 8, 2, 2)),
        (dict(joint_slices=3), (0, 0, 8, 0, 1)),
        (dict(joint_slices=3, levels="auto"), (0, 0, 8, 0, 1)),
        (dict(joint_slices=3, num_iter=30), (30, 25, 8, 0, 1)),
        (dict(preset="paper"), (1000, 100, 8, 0, 1)),
        (dict(preset="paper", quality="fast"), (1000, 100, 4, 0, 1)),
        (dict(preset="paper", quality="best"), (1000, 100, 8, 2, 2)),
        (dict(preset="paper", levels="auto"), (1000, 100, 8, 0, 1)),
        (dict(preset="paper", joint_slices=3), (1000, 100, 8, 0, 1)),
        (dict(preset="paper", num_iter=60), (60, 60, 8, 0, 1)),
        (dict(wedge_rounds=2), (0, 0, 8, 2, 1)),
        (dict(grid_factor=3), (50, 25, 8, 0, 3)),
        (dict(quality="best", wedge_rounds=0), (50, 25, 8, 0, 2)),
        (dict(quality="best", grid_factor=1, reweight_rounds=0), (0, 0, 0, 2, 1)),
        (dict(quality="fast", num_iter=5), (5, 5, 4, 0, 1)),
        (dict(num_iter=0, warm_iter=7), (0, 7, 8, 0, 1)),
    ),
    ids=str,
)
def test_resolved(given, expected):
    options = GanrecOptions(seed=3, **given)
    resolved = options.resolved
    names = ("num_iter", "warm_iter", "reweight_rounds", "wedge_rounds", "grid_factor")
    assert tuple(getattr(resolved, name) for name in names) == expected
    assert resolved.resolved == resolved
    # All other options stay, and the options themselves too.
    others = set(NAMES) - {*names, "max_attenuation"}
    assert all(getattr(resolved, name) == getattr(options, name) for name in others)
    assert options == GanrecOptions(seed=3, **given)


def test_later_mappings_win():
    options = GanrecOptions.from_mapping({"seed": 1, "num_iter": 5}, None, {"seed": 2}, {"reweight_rounds": 3})
    assert (options.seed, options.num_iter, options.reweight_rounds) == (2, 5, 3)


def test_mappings_are_not_changed():
    mapping = {"seed": 1, "levels": [1.0, 0.0]}
    GanrecOptions.from_mapping(mapping)
    assert mapping == {"seed": 1, "levels": [1.0, 0.0]}


@pytest.mark.parametrize("mapping", ([("seed", 1)], "seed", 3))
def test_options_that_are_no_dictionary_are_refused(mapping):
    with pytest.raises(TypeError, match=f"must be a dictionary .*{type(mapping).__name__}"):
        GanrecOptions.from_mapping(mapping)


def test_values_of_mappings_are_checked():
    with pytest.raises(ValueError, match="num_iter=-1"):
        GanrecOptions.from_mapping({"num_iter": -1})


def test_frozen():
    options = GanrecOptions()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.seed = 3
    assert hash(options) == hash(GanrecOptions())


def test_replace_checks_again():
    options = GanrecOptions(seed=4)
    assert options.replace(num_iter=3) == GanrecOptions(seed=4, num_iter=3)
    assert options == GanrecOptions(seed=4)
    with pytest.raises(ValueError, match="num_iter=-1"):
        options.replace(num_iter=-1)
    with pytest.raises(TypeError, match="num_iters"):
        options.replace(num_iters=1)


def test_options_travel_between_processes():
    options = GanrecOptions(levels=(0, 1), num_iter=np.int64(3))
    assert pickle.loads(pickle.dumps(options)) == options
