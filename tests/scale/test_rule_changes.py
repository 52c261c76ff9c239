"""What changes of a large security group cost a real host: as much as the change, however many members there are."""

import statistics
from collections.abc import Iterator

import pytest

from bench.rule_latency import Measures, measure, town
from nephos_dev.cloud import Cloud
from nephos_dev.layout import name_for_tests

MEMBERS = 100
HOSTS = 5
ROUNDS = 5
BOUND_MS = 300
"""Of the fastest: what else the machine does only adds to it. `make bench` has medians, with 2,000 members."""


@pytest.fixture(scope="module")
def changes() -> Iterator[Measures]:
    cloud = Cloud(name_for_tests("rules"))
    try:
        with town(cloud, MEMBERS, HOSTS) as built:
            yield measure(built, ROUNDS)
    finally:
        cloud.down()


def test_a_rule_that_is_added_is_one_element_in_one_transaction_and_soon_enforced(changes: Measures) -> None:
    assert [(each.transactions, each.elements) for each in changes.added] == [(1, 1)] * ROUNDS
    assert min(each.enforced_ms for each in changes.added) < BOUND_MS


def test_a_rule_that_is_taken_away_is_one_element_too_and_cuts_the_flow_that_it_allowed(changes: Measures) -> None:
    assert [(each.transactions, each.elements) for each in changes.removed] == [(1, 1)] * ROUNDS
    assert min(each.enforced_ms for each in changes.removed) < BOUND_MS


def test_a_server_that_joins_on_another_host_is_its_addresses_and_nothing_else(changes: Measures) -> None:
    costs = [(each.transactions, each.elements) for each in changes.joined]
    assert costs == [(1, 2)] * ROUNDS, "its own address and the link-local one"
    assert statistics.median(each.enforced_ms for each in changes.joined) < 10 * BOUND_MS
