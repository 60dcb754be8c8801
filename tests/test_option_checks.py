"""Checks of option values: what is allowed is taken, and what is not is refused with a word on what is."""

import numpy as np
import pytest
from option_cases import CHOICES, HUGE, NOT_NEGATIVE, POSITIVE, STRANGE, SWITCHES, WHOLE, Unprintable

from tomopy_ganrec.options import GanrecOptions


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


def test_max_attenuation():
    assert GanrecOptions().max_attenuation == GanrecOptions(max_attenuation="auto").max_attenuation == "auto"
    assert GanrecOptions(max_attenuation=None).max_attenuation is None
    for value in (2, 0.5, np.float32(0.5), np.int32(2), 1e-30):
        bound = GanrecOptions(max_attenuation=value).max_attenuation
        assert bound == value and type(bound) is float
    for value in (True, False, np.True_, "0.5", "none", [0.5], (0, 1), 0.5 + 0j, *STRANGE):
        with pytest.raises(TypeError, match="^option max_attenuation=.* must be a number above 0, or 'auto'"):
            GanrecOptions(max_attenuation=value)
    for value in (0, -0.0, -1, float("nan"), float("inf"), -float("inf"), np.float32("nan"), 1e39, 10**400):
        with pytest.raises(ValueError, match="^option max_attenuation=.* must be a number above 0"):
            GanrecOptions(max_attenuation=value)


@pytest.mark.parametrize(("name", "value"), (("preset", "paper"), ("nonnegative", False), ("nonnegative", np.False_)))
def test_a_bound_given_where_there_can_be_none_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"max_attenuation=0.5 does not go with {name}=.*; leave one out"):
        GanrecOptions(max_attenuation=0.5, **{name: value})
    for bound in ("auto", None):
        assert GanrecOptions(max_attenuation=bound, **{name: value}).resolved.max_attenuation is None


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
def test_values_of_other_types(name, value):
    with pytest.raises((ValueError, TypeError), match=f"^option {name}=") as caught:
        GanrecOptions(**{name: value})
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "gpus",
    ([10**400], 10**400, [[1], [1, 2]], [0, [1]], np.array([[0]]), [Unprintable()], [0, 2**31]),
    ids=lambda v: type(v).__name__,
)
def test_gpu_lists_beyond_all_bounds(gpus):
    with pytest.raises(ValueError, match="option gpu_list=.*must hold the numbers of different GPUs"):
        GanrecOptions(gpu_list=gpus)


@pytest.mark.parametrize(
    "levels", ([0, 10**400], [0, 1e39], [-1e300, 0], [0, Unprintable()], [[1], [1, 2]]), ids=lambda v: "levels"
)
def test_levels_beyond_all_bounds(levels):
    with pytest.raises(ValueError, match="option levels=.*at least two finite grey levels"):
        GanrecOptions(levels=levels)


@pytest.mark.parametrize("name", ("levels", "gpu_list"))
@pytest.mark.parametrize("value", (range(10**9), range(1001), [0.0] * 5000), ids=("billion", "1001", "list"))
def test_lists_too_long_to_be_meant_are_refused_at_once(name, value):
    with pytest.raises(ValueError, match=f"option {name}=.* must "):
        GanrecOptions.from_mapping({name: value})


@pytest.mark.parametrize("value", (10**5000, -(10**5000)), ids=("positive", "negative"))
def test_a_device_that_cannot_be_written_out_is_named_in_short(value):
    assert "very many digits" in GanrecOptions.from_mapping({"device": value}).device
