"""Registration with TomoPy by name, without TomoPy."""

from types import SimpleNamespace

import pytest

import tomopy_ganrec
from tomopy_ganrec import ganrec


def test_register_without_tomopy_says_where_to_get_it():
    if tomopy_is_installed():
        pytest.skip("TomoPy is installed")
    with pytest.raises(ImportError, match="conda-forge.*tomopy_ganrec.recon"):
        tomopy_ganrec.register()


def test_register_enters_and_leaves_tomopys_tables(monkeypatch):
    tables = SimpleNamespace(extern=SimpleNamespace(), allowed_recon_kwargs={"mlem": ["num_iter"]})
    monkeypatch.setattr("tomopy_ganrec.tomopy_registry._tomopy", lambda: tables)
    tomopy_ganrec.register()
    tomopy_ganrec.register()
    assert tables.extern.c_ganrec is ganrec
    keywords = tables.allowed_recon_kwargs["ganrec"]
    # TomoPy gives its own default to each that it goes through: num_iter=1 would be one
    assert list(keywords) == ["num_gridx", "num_gridy", "options"]
    assert all(
        name in keywords for name in ("num_gridx", "options", "num_iter", "filter_name", "levels", "a misspelt one")
    )
    tomopy_ganrec.unregister()
    tomopy_ganrec.unregister()
    assert tables.allowed_recon_kwargs == {"mlem": ["num_iter"]} and not hasattr(tables.extern, "c_ganrec")


def tomopy_is_installed():
    from importlib.util import find_spec

    return find_spec("tomopy") is not None
