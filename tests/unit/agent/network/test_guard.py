"""The filters: what a port may send, as libnftables is told."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nephos_agent.network import desired
from nephos_agent.network.facts import GuardElement, GuardSet
from nephos_agent.network.filters import guard
from nephos_agent.network.filters.numbering import Numbering
from nephos_agent.network.filters.rule_elements import rule_elements
from nephos_agent.network.linux.generation import Generation
from nephos_agent.network.linux.libnftables import Nftables, NftablesError
from nephos_agent.network.linux.tables import Tables
from nephos_agent.network.model import SecurityRule
from unit.agent.network.examples import CONTEXT, V4, V6, network, port
from unit.agent.network.test_rules import rules

GOLDEN = Path(__file__).parent / "golden"
CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def elements() -> frozenset[GuardElement]:
    described = network(port(11, ipv6=True), port(12, "h2"), subnets=(V4, V6))
    return frozenset(fact for fact in desired.facts(described, CONTEXT, frozenset()) if isinstance(fact, GuardElement))


def in_new_namespace(work: Callable[[Nftables], T]) -> T:
    """Work with the rule set of an empty namespace, in a thread that ends with it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
            failures.append(PermissionError("unshare"))
            return
        nft = Nftables()
        try:
            results.append(work(nft))
        except BaseException as failure:  # noqa: BLE001  # why: it is raised again in the test's own thread
            failures.append(failure)
        finally:
            nft.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def test_elements_are_as_reviewed() -> None:
    in_order = sorted(elements(), key=lambda element: (element.set, element.device, element.rest))
    rendered = json.dumps(json.loads(guard.commands((("add", in_order),), Numbering())), indent=1) + "\n"
    assert rendered == (GOLDEN / "elements.json").read_text()


@contextmanager
def filters_of(nft: Nftables) -> Iterator[Tables]:
    """Open the tables of the calling thread's namespace, the filters alone."""
    with closing(Generation()) as generation:
        yield Tables(cast(Any, None), nft, generation, cast(Any, None), lambda _device: 0)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")


@needs_root
def test_the_kernel_gives_back_the_elements_that_it_took() -> None:
    def work(nft: Nftables) -> frozenset[GuardElement]:
        nft.run(guard.skeleton())
        nft.run(guard.commands((("add", elements()),), Numbering()))
        nft.run(guard.commands((("add", elements()),), Numbering()))
        return guard.read_elements(nft.run("list ruleset"), Numbering())

    assert in_new_namespace(work) == elements()


@needs_root
def test_two_threads_read_their_namespaces_at_the_same_time() -> None:
    """The library cannot; it would end the process."""

    def work(nft: Nftables) -> int:
        nft.run(guard.skeleton())
        return sum(len(nft.run(f"list table bridge {guard.TABLE}")["nftables"]) for _ in range(30))

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: in_new_namespace(work), range(2))
    assert one == two > 0


@needs_root
def test_loading_the_chains_again_keeps_the_elements() -> None:
    def work(nft: Nftables) -> frozenset[GuardElement]:
        nft.run(guard.skeleton())
        nft.run(guard.commands((("add", elements()),), Numbering()))
        nft.run(guard.skeleton())
        return guard.read_elements(nft.run("list ruleset"), Numbering())

    assert in_new_namespace(work) == elements()


@needs_root
def test_filters_that_an_older_agent_made_otherwise_are_replaced() -> None:
    def work(nft: Nftables) -> frozenset[GuardElement]:
        nft.run("add table bridge nephos; add set bridge nephos port_ipv4 { type ether_addr; }")
        with filters_of(nft) as tables:
            tables.load_guard()
            tables.load_guard()
            tables.make_elements(elements())
            return tables.read_elements()

    assert in_new_namespace(work) == elements()


@needs_root
def test_chains_are_loaded_again_only_where_somebody_else_changed_the_rule_set() -> None:
    taps = frozenset(element for element in elements() if element.set is GuardSet.ROLE)

    def work(nft: Nftables) -> list[int]:
        commits = []
        with filters_of(nft) as tables:
            for others in ("", "", "flush chain bridge nephos incoming", "flush chain nowhere nothing"):
                with suppress(NftablesError):
                    nft.run(others)
                tables.load_guard()
                tables.make_elements(taps)
                tables.remove_elements(taps)
                commits.append(tables.commits)
        return commits

    assert in_new_namespace(work) == [3, 5, 8, 10], "three each time where the chains are among them"


@needs_root
def test_a_transaction_of_which_one_part_fails_changes_nothing() -> None:
    some, *rest = sorted(elements(), key=repr)

    def work(nft: Nftables) -> frozenset[GuardElement]:
        nft.run(guard.skeleton())
        nft.run(guard.commands((("add", rest),), Numbering()))
        with pytest.raises(NftablesError) as refusal:
            nft.run(guard.commands((("delete", [some, *rest]),), Numbering()))
        assert refusal.value.is_missing
        return guard.read_elements(nft.run("list ruleset"), Numbering())

    assert in_new_namespace(work) == frozenset(rest)


@needs_root
def test_a_listing_of_what_is_not_there_says_so() -> None:
    def work(nft: Nftables) -> bool:
        with pytest.raises(NftablesError) as refusal:
            nft.run("list table bridge nephos")
        return refusal.value.is_missing

    assert in_new_namespace(work)


@needs_root
@settings(max_examples=40, deadline=None)
@given(st.lists(st.frozensets(rules(), max_size=12), min_size=2, max_size=6))
def test_the_kernel_takes_every_change_of_rules_in_one_transaction(states: list[frozenset[SecurityRule]]) -> None:
    policies = frozenset({("npo1", frozenset({"group-a", "group-b"})), ("npo2", frozenset({"group-b", "group-c"}))})
    numbering = Numbering()

    def elements_of(some: frozenset[SecurityRule]) -> frozenset[GuardElement]:
        return frozenset(GuardElement("npo1", name, rest) for name, rest in rule_elements(some, policies))

    def work(nft: Nftables) -> None:
        nft.run(guard.skeleton())
        named = [GuardElement(policy, GuardSet.POLICY, ("nbr0",)) for policy, _groups in policies]
        nft.run(guard.commands((("add", named),), numbering))
        before: frozenset[GuardElement] = frozenset()
        for some in states:
            after = elements_of(some)
            nft.run(guard.commands((("delete", before - after), ("add", after - before)), numbering))
            found = guard.read_elements(nft.run("list ruleset"), Numbering())
            assert found - set(named) == after
            before = after

    in_new_namespace(work)
