"""Names of options: unknown ones are refused with the nearest, earlier ones with the present one."""

import pytest
from option_cases import NAMES

from tomopy_ganrec.option_names import RENAMED, RENAMED_VALUES, TOMOPY_KEYWORDS, nearest_option, renamed_options
from tomopy_ganrec.options import GanrecOptions


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


@pytest.mark.parametrize(
    "name", ("x" * 9999, 10**5000, ("num_iter",), None, b"num_iter"), ids=("long", "number", "tuple", "None", "bytes")
)
def test_unknown_names_of_any_kind_are_named_in_short(name):
    with pytest.raises(TypeError, match="unknown option .*: known are preset") as caught:
        GanrecOptions.from_mapping({name: 1})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_earlier_names_are_refused_with_the_present_one(old, new):
    assert new in NAMES and old not in NAMES
    with pytest.raises(TypeError, match=f"unknown option '{old}': did you mean '{new}'"):
        GanrecOptions.from_mapping({old: 1})


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, old, new) for name, values in RENAMED_VALUES.items() for old, new in values.items()]
)
def test_earlier_values_are_refused_with_the_present_one(name, old, new):
    assert getattr(GanrecOptions(**{name: new}), name) == new
    with pytest.raises(ValueError, match=f"option {name}='{old}' is not known; it is called '{new}' now"):
        GanrecOptions(**{name: old})


def test_renamed_options_are_those_of_a_dictionary():
    old = dict(strength=1e-3, epsilon=0.05, along=0.7, reweight=4, learn=2, refine=3, stack=5, spread=6, pixels="mean")
    kept = dict(old)
    assert renamed_options(old) == dict(
        tv_weight=1e-3,
        edge_threshold=0.05,
        wedge_tv_weight=0.7,
        reweight_rounds=4,
        wedge_rounds=2,
        grid_factor=3,
        joint_slices=5,
        uncertainty_samples=6,
        pixel_model="area",
    )
    assert old == kept
    assert GanrecOptions.from_mapping(renamed_options(old)).pixel_model == "area"


@pytest.mark.parametrize(("old", "new"), (("mean", "area"), ("box", "point"), ("auto", "auto"), ("area", "area")))
def test_renamed_values(old, new):
    assert renamed_options({"pixels": old}) == renamed_options({"pixel_model": old}) == {"pixel_model": new}


def test_present_and_other_names_are_kept():
    options = {"seed": 3, "pixel_model": ["mean"], "xyzzy": None}
    assert renamed_options(options) == options
    assert renamed_options({}) == {}


@pytest.mark.parametrize(
    ("name", "nearest"),
    (
        ("strength", "tv_weight"),
        ("strengths", "tv_weight"),
        ("spreads", "uncertainty_samples"),
        ("num_iters", "num_iter"),
        ("xyzzy", None),
        ("", None),
        (3, None),
        (None, None),
        (("seed",), None),
    ),
)
def test_nearest_option(name, nearest):
    assert nearest_option(name, NAMES) == nearest
