"""The options: what may be left out works, what is wrong is refused with a word on what is allowed."""

import dataclasses
import inspect
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest

from tomopy_ganrec.option_names import TOMOPY_KEYWORDS
from tomopy_ganrec.option_values import grid_size, shown
from tomopy_ganrec.options import GanrecOptions

NAMES = [field.name for field in dataclasses.fields(GanrecOptions)]
# With their least value.
WHOLE = {
    "num_iter": 0,
    "warm_iter": 0,
    "reweight_rounds": 0,
    "wedge_rounds": 0,
    "grid_factor": 1,
    "joint_slices": 1,
    "uncertainty_samples": 0,
    "patience": 0,
    "seed": 0,
    "batch_size": 1,
}
NOT_NEGATIVE = ("noise", "tv_weight", "adversarial", "levels_weight")
POSITIVE = (
    "edge_threshold",
    "learning_rate",
    "pixel_rate",
    "discriminator_rate",
    "data_weight",
    "projector_memory",
    "wedge_tv_weight",
)
SWITCHES = ("nonnegative", "mask", "network", "trust_theta", "progress")
CHOICES = {
    "preset": ("default", "paper"),
    "quality": ("fast", "default", "best"),
    "pixel_model": ("auto", "area", "point"),
    "init": ("tv", "sirt", "fbp", "none"),
    "loss": ("auto", "l1", "l2"),
    "center_convention": ("edge", "index"),
    "backend": ("auto", "fourier", "matrix", "astra", "astra_cuda"),
}


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


def test_these_tests_know_every_option():
    assert {
        *WHOLE,
        *NOT_NEGATIVE,
        *POSITIVE,
        *SWITCHES,
        *CHOICES,
        "levels",
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
    expected = (">=", str(WHOLE[name])) if name in WHOLE else (">", "0") if name in POSITIVE else (">=", "0")
    assert (sign, limit) == expected
    assert ("None" in documented()[name][0]) == (GanrecOptions.__dataclass_fields__[name].default is None)
    assert ("'auto'" in documented()[name][0]) == (GanrecOptions.__dataclass_fields__[name].default == "auto")


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choices_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"{name}='quux'.*{'.*'.join(CHOICES[name])}"):
        GanrecOptions(**{name: "quux"})
    for value in (None, 3, ["tv"]):
        with pytest.raises((ValueError, TypeError), match=name):
            GanrecOptions(**{name: value})


@pytest.mark.parametrize(("name", "least"), WHOLE.items())
def test_whole_numbers(name, least):
    for value in (least, least + 7, np.int64(least + 7), np.uint8(least + 7)):
        assert getattr(GanrecOptions(**{name: value}), name) == value
    for value in (1.0, "1", True, np.True_, [1], np.float32(1), 1 + 0j):
        with pytest.raises(TypeError, match=f"{name}=.*a whole number of at least {least}"):
            GanrecOptions(**{name: value})
    with pytest.raises(ValueError, match=f"{name}=.*a whole number of at least {least}"):
        GanrecOptions(**{name: least - 1})


@pytest.mark.parametrize("name", (*NOT_NEGATIVE, *POSITIVE))
def test_numbers(name):
    for value in (2, 0.5, np.float32(0.5), np.float64(0.5), np.int32(2)):
        assert getattr(GanrecOptions(**{name: value}), name) == value
    for value in (True, np.True_, "0.5", [0.5], 0.5 + 0j):
        with pytest.raises(TypeError, match=f"{name}=.*a number"):
            GanrecOptions(**{name: value})
    for value in (-1, -1e-9, float("nan"), float("inf"), np.float32("nan")):
        with pytest.raises(ValueError, match=f"{name}=.*a number"):
            GanrecOptions(**{name: value})


@pytest.mark.parametrize("name", NOT_NEGATIVE)
def test_zero_is_allowed(name):
    assert getattr(GanrecOptions(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", POSITIVE)
def test_zero_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be a number above 0"):
        GanrecOptions(**{name: 0})


@pytest.mark.parametrize(
    "name", [name for name in (*WHOLE, *NOT_NEGATIVE, *POSITIVE) if getattr(GanrecOptions(), name) is not None]
)
def test_none_is_no_number(name):
    with pytest.raises(TypeError, match=name):
        GanrecOptions(**{name: None})


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name):
    for value in (True, False, np.True_, np.False_):
        assert getattr(GanrecOptions(**{name: value}), name) == value
    for value in (0, 1, "yes", None, 1.0):
        with pytest.raises(TypeError, match=f"{name}=.*True or False"):
            GanrecOptions(**{name: value})


def test_warm_start():
    assert GanrecOptions().warm_start is None
    for value in (0, 1, 16, "auto", None, np.int64(4)):
        assert GanrecOptions(warm_start=value).warm_start == value
    for value in (1.0, "4", True, [4]):
        with pytest.raises(TypeError, match="warm_start=.*a whole number of at least 0, 'auto' or None"):
            GanrecOptions(warm_start=value)
    with pytest.raises(ValueError, match="warm_start=-1 must be a whole number of at least 0, 'auto' or None"):
        GanrecOptions(warm_start=-1)


# As the docstring of `warm_iter` says; never more than the fit of a slice from nothing.
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


def test_gpu_list_is_a_tuple_of_numbers():
    for value in ([0, 2], (0, 2), np.array([0, 2]), [np.int64(0), np.uint8(2)]):
        assert GanrecOptions(gpu_list=value).gpu_list == (0, 2)
        assert all(type(k) is int for k in GanrecOptions(gpu_list=value).gpu_list)
    assert GanrecOptions(gpu_list=1).gpu_list == GanrecOptions(gpu_list=np.int64(1), device="cuda").gpu_list == (1,)
    assert GanrecOptions().gpu_list is None and hash(GanrecOptions(gpu_list=[0]))


@pytest.mark.parametrize(
    "gpus",
    (
        [],
        [0, 0],
        [0, np.int64(0)],
        [-1],
        -1,
        "0",
        "01",
        b"01",
        ["0"],
        [0.0],
        1.5,
        [None],
        {0, 1},
        {0: 1},
        [[0]],
        True,
        [True, False],
        np.array(1.5),
    ),
)
def test_wrong_gpu_lists_are_refused(gpus):
    with pytest.raises(ValueError, match=r"gpu_list=.*must hold the numbers of different GPUs, such as \[0, 1\]"):
        GanrecOptions(gpu_list=gpus)


@pytest.mark.parametrize("device", ("cpu", "cuda:1"))
def test_gpu_list_and_another_device_contradict_each_other(device):
    with pytest.raises(ValueError, match=f"gpu_list=.*and device='{device}' name different devices; give one of them"):
        GanrecOptions(gpu_list=[0], device=device)


def test_levels_are_sorted_floats():
    for value in ([1, 0, 0.5], (0.5, 1.0, 0.0), np.array([0, 1, 0.5], np.float32)):
        assert GanrecOptions(levels=value).levels == (0.0, 0.5, 1.0)
    assert GanrecOptions(levels="auto").levels == "auto" and GanrecOptions(levels=None).levels is None


@pytest.mark.parametrize(
    "levels",
    ([], [0.5], "quux", 0.5, [[0, 1]], [0, float("nan")], [0, float("inf")], ["a", "b"], [0, [1, 2]], {0: 1}, True),
)
def test_wrong_levels_are_refused(levels):
    with pytest.raises((ValueError, TypeError), match="levels=.*at least two finite grey levels"):
        GanrecOptions(levels=levels)


def test_callback_is_callable_or_none():
    assert GanrecOptions(callback=print).callback is print
    with pytest.raises(TypeError, match="callback='print' must be callable"):
        GanrecOptions(callback="print")


def test_a_torch_device_becomes_its_name():
    torch = pytest.importorskip("torch")
    assert GanrecOptions(device=torch.device("cpu")).device == "cpu"


def test_iterations_of_the_presets():
    assert GanrecOptions().resolved.num_iter == 50
    assert GanrecOptions(levels="auto").resolved.num_iter == GanrecOptions(init="sirt").resolved.num_iter == 100
    assert GanrecOptions(preset="paper").resolved.num_iter == 1000
    assert GanrecOptions(num_iter=0).resolved.num_iter == 0
    assert GanrecOptions(num_iter=7, preset="paper").resolved.num_iter == 7


# As the docstring says: what each quality spends where nothing is given, (iterations, rounds, lessons).
@pytest.mark.parametrize(("quality", "spent"), (("fast", (0, 4, 0)), ("default", (50, 8, 0)), ("best", (0, 8, 3))))
def test_quality_sets_what_is_left_open(quality, spent):
    options = GanrecOptions(quality=quality)
    assert (options.resolved.num_iter, options.resolved.reweight_rounds, options.resolved.wedge_rounds) == spent


@pytest.mark.parametrize("quality", ("fast", "default", "best"))
@pytest.mark.parametrize("value", (0, 3))
def test_what_is_given_stands_whatever_the_quality(quality, value):
    options = GanrecOptions(quality=quality, num_iter=value, reweight_rounds=value, wedge_rounds=value)
    assert (options.resolved.num_iter, options.resolved.reweight_rounds, options.resolved.wedge_rounds) == (
        value,
        value,
        value,
    )


def test_learning_and_stacks_take_the_place_of_the_fit():
    assert [
        GanrecOptions(**given).resolved.num_iter
        for given in (dict(wedge_rounds=1), dict(wedge_rounds=0), dict(joint_slices=2), dict(joint_slices=1))
    ] == [0, 50, 0, 50]
    assert GanrecOptions(joint_slices=2, wedge_rounds=1, num_iter=7).resolved.num_iter == 7


def test_slices_of_a_stack_are_tied_and_single_ones_are_not():
    assert (
        GanrecOptions().slice_tv_weight == 0
        and GanrecOptions(joint_slices=1).slice_tv_weight == 0
        and GanrecOptions(joint_slices=2).slice_tv_weight > 0
    )


def test_the_paper_preset_keeps_its_iterations_whatever_the_quality():
    assert [
        GanrecOptions(preset="paper", quality=quality).resolved.num_iter for quality in ("fast", "default", "best")
    ] == [1000] * 3


@pytest.mark.parametrize(
    ("wrong", "right"),
    (
        ("num_iters", "num_iter"),
        ("noize", "noise"),
        ("non_negative", "nonnegative"),
        ("Seed", "seed"),
        ("pixel", "pixel_model"),
        ("stacks", "joint_slices"),
    ),
)
def test_unknown_names_are_refused_with_the_nearest(wrong, right):
    with pytest.raises(TypeError, match=f"unknown option '{wrong}'.*{right}"):
        GanrecOptions.from_mapping({wrong: 1})


def test_an_unknown_name_like_no_other_is_refused_with_all_known():
    with pytest.raises(TypeError, match="unknown option 'xyzzy'.*" + ".*".join(NAMES)):
        GanrecOptions.from_mapping({"xyzzy": 1})
    with pytest.raises(TypeError, match="unknown option 3"):
        GanrecOptions.from_mapping({3: 1})


def test_tomopys_own_keywords_are_passed_over():
    # What tomopy.recon adds for any algorithm, and what TomoPy documents for its own ones.
    passed = dict(filter_name="parzen", filter_par=[0.5, 8], num_block=1, ind_block=[0], reg_par=[1.0], reg_data=None)
    passed |= dict(accelerated=True, pool_size=4, interpolation="NN", grid_size=[8, 8], block_size=[4, 4])
    passed |= dict(
        method="SIRT_CUDA",
        proj_type="cuda",
        extra_options={},
        lpmethod="fbp",
        interp_type="cubic",
        filter_type="parzen",
    )
    assert set(passed) == TOMOPY_KEYWORDS
    assert GanrecOptions.from_mapping(passed) == GanrecOptions()
    assert GanrecOptions.from_mapping(passed, {"num_iter": 5}).num_iter == 5
    assert not TOMOPY_KEYWORDS & set(NAMES)


def test_later_mappings_win():
    options = GanrecOptions.from_mapping({"seed": 1, "num_iter": 5}, None, {"seed": 2}, {"reweight_rounds": 3})
    assert (options.seed, options.num_iter, options.reweight_rounds) == (2, 5, 3)


def test_mappings_are_left_alone():
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


# Values that Python or NumPy would complain of in words of their own


class Hostile:
    """Whose text cannot be had."""

    def __repr__(self):
        raise ZeroDivisionError


HUGE = (10**400, 10**5000, -(10**400), Fraction(10**400, 3), float("inf"), float("-inf"), float("nan"), 1e39)
STRANGE = (
    Hostile(),
    np.zeros((3, 1)),
    np.zeros((2, 2)),
    np.array(["auto"]),
    [[1], [1, 2]],
    {"a": 1},
    b"1",
    object(),
    "x" * 10**5,
)


@pytest.mark.parametrize("name", [*WHOLE, *NOT_NEGATIVE, *POSITIVE])
def test_values_beyond_all_bounds(name):
    for value in HUGE:
        with pytest.raises(
            (ValueError, TypeError), match=f"^option {name}=.* must be a (whole )?number (of at least|above) "
        ) as caught:
            GanrecOptions(**{name: value})
        assert len(str(caught.value)) < 300
    if name in WHOLE:
        with pytest.raises(ValueError, match=f"option {name}=.* and at most "):
            GanrecOptions(**{name: 10**400})


@pytest.mark.parametrize(
    "name", [*WHOLE, *NOT_NEGATIVE, *POSITIVE, *CHOICES, *SWITCHES, "gpu_list", "levels", "callback"]
)
@pytest.mark.parametrize("value", STRANGE, ids=lambda value: type(value).__name__)
def test_values_of_strange_types(name, value):
    with pytest.raises((ValueError, TypeError), match=f"^option {name}=") as caught:
        GanrecOptions(**{name: value})
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "gpus",
    ([10**400], 10**400, [[1], [1, 2]], [0, [1]], np.array([[0]]), [Hostile()], [0, 2**31]),
    ids=lambda v: type(v).__name__,
)
def test_gpu_lists_beyond_all_bounds(gpus):
    with pytest.raises(ValueError, match="option gpu_list=.*must hold the numbers of different GPUs"):
        GanrecOptions(gpu_list=gpus)


@pytest.mark.parametrize(
    "levels", ([0, 10**400], [0, 1e39], [-1e300, 0], [0, Hostile()], [[1], [1, 2]]), ids=lambda v: "levels"
)
def test_levels_beyond_all_bounds(levels):
    with pytest.raises(ValueError, match="option levels=.*at least two finite grey levels"):
        GanrecOptions(levels=levels)


@pytest.mark.parametrize("name", ("num_gridx", "num_gridy"))
def test_grids_of_impossible_sizes(name):
    for value in (
        10**400,
        10**5000,
        float("inf"),
        float("nan"),
        0,
        -1,
        1.5,
        1e300,
        Fraction(3, 2),
        np.float32("nan"),
        2**31,
    ):
        sides = {name: value}
        with pytest.raises(
            ValueError,
            match=f"{next(iter(sides))}=.*: a slice needs at least one row and one column; give a whole number",
        ):
            grid_size(8, **sides)


@pytest.mark.parametrize(
    "value", (True, False, np.True_, "12", b"12", [12], np.array([12]), 12j, Hostile()), ids=lambda v: type(v).__name__
)
def test_grids_of_no_size(value):
    with pytest.raises(
        TypeError, match="num_gridy=.*: a slice needs at least one row and one column; give a whole number"
    ):
        grid_size(8, None, value)


def test_grids():
    assert grid_size(8) == (8, 8) and grid_size(8, 3) == (3, 8) and grid_size(8, np.int16(3), 4.0) == (3, 4)
    assert all(type(n) is int for n in grid_size(np.int64(8), np.float32(5)))


def test_values_are_shown_short():
    assert shown([1, "a"]) == "[1, 'a']" and shown(Hostile()) == "<Hostile>"
    assert len(shown("x" * 10**6)) < 100 and len(shown(10**5000)) < 100 and len(shown(10**400)) < 100


@pytest.mark.parametrize("name", ("levels", "gpu_list"))
@pytest.mark.parametrize("value", (range(10**9), range(1001), [0.0] * 5000), ids=("billion", "1001", "list"))
def test_lists_too_long_to_be_meant_are_refused_at_once(name, value):
    with pytest.raises(ValueError, match=f"option {name}=.* must "):
        GanrecOptions.from_mapping({name: value})


@pytest.mark.parametrize(
    "name", ("x" * 9999, 10**5000, ("num_iter",), None, b"num_iter"), ids=("long", "number", "tuple", "None", "bytes")
)
def test_unknown_names_of_any_kind_are_named_in_short(name):
    with pytest.raises(TypeError, match="unknown option .*: known are preset") as caught:
        GanrecOptions.from_mapping({name: 1})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", (10**5000, -(10**5000)), ids=("positive", "negative"))
def test_a_device_that_cannot_be_written_out_is_no_error_of_pythons(value):
    assert "very many digits" in GanrecOptions.from_mapping({"device": value}).device
