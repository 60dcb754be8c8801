"""Names of options: unknown ones are refused with the nearest, earlier ones with the present one."""

import pytest
from option_cases import NAMES

from tomopy_ganrec.option_names import TOMOPY_KEYWORDS
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
