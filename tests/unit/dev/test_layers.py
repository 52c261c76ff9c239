"""`make test` says how each layer went, and fails when one failed."""

import pytest

from nephos_dev.layers import read_report, summary

REPORT = '<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1" time="2.5"/></testsuites>'


def test_a_layer_counts_failures_and_errors_alike() -> None:
    result = read_report("unit", REPORT, seconds=2.5, status=1)
    assert (result.passed, result.failed, result.skipped) == (2, 2, 1)
    assert not result.good
    assert summary(result) == "unit      2 passed, 2 failed, 1 skipped in 2.5 s"


@pytest.mark.parametrize(("status", "good"), [(5, True), (0, True), (2, False), (4, False)])
def test_no_tests_is_fine_but_a_broken_run_is_not(status: int, *, good: bool) -> None:
    assert read_report("scale", "", seconds=0, status=status).good is good
