"""The report in Markdown and reST."""

import pytest
from report_samples import ATTACK, rst_tree

pytest.importorskip("matplotlib")  # the fixture `written` draws


def test_documents_are_whole_and_parse(written):
    tree = rst_tree(written["table.rst"].read_text())
    said = " ".join(tree.astext().split())
    markdown = written["table.md"].read_text()
    for text in (
        "MSSIM",
        "RMSE",
        "MSSIM, 7 × 7 window",
        "Time per slice relative to MLEM, 200",
        "Measured scans",
        "Unavailable methods",
        "Failed",
    ):
        assert text in said and f"\n## {text}" in markdown
    for text in (
        "tomopy-tv: no module named <tomopy>",
        "the peer | of *all*",
        "num_iter=1",
        "oracle: a parameter was chosen by the truth",
    ):
        assert text in said
    assert " ".join(ATTACK.split()) in said and " ".join(ATTACK.split()) in markdown
    assert "| tooth | 32² | 0–120° | GANrec | 1 | 0.0123 | 0.0876 | 0.250 | 12 |" in markdown
