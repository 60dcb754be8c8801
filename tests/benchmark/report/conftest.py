"""A folder of results and its report, which the tests of the report share."""

import pytest
from report_samples import EXTRA, fabricate


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="session")
def written(results):
    from tomopy_ganrec.benchmark.report.write import write_report

    return {path.name: path for path in write_report(results, EXTRA)}
