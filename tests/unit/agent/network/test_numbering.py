"""Numbers of zones, policies and devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network.filters import numbering
from nephos_agent.network.filters.numbering import Numbers, NumbersExhausted

names = st.text(alphabet="abcdef0123456789", min_size=1, max_size=6)


@given(st.lists(names, unique=True, max_size=50), st.dictionaries(names, st.integers(1, 60), max_size=20))
def test_no_two_names_have_one_number_and_what_has_one_keeps_it(fresh: list[str], known: dict[str, int]) -> None:
    numbers = Numbers()
    kept = {name: number for number, name in {number: name for name, number in known.items()}.items()}
    for name, number in kept.items():
        numbers.learn(name, number)
    found = {name: numbers.number(name) for name in [*fresh, *kept]}
    assert len(set(found.values())) == len(found)
    assert {name: found[name] for name in kept} == kept
    assert all(numbers.name(number) == name for name, number in found.items())


def test_a_name_has_the_same_number_on_each_start() -> None:
    assert Numbers().number("nbrb5b4a15a54b") == Numbers().number("nbrb5b4a15a54b")


def test_a_number_that_is_given_back_is_free_again() -> None:
    numbers = Numbers()
    first = numbers.number("one")
    numbers.forget("one")
    assert numbers.known("one") is None
    numbers.learn("two", first)
    assert numbers.number("one") != first


def test_a_number_that_nobody_named_is_not_taken_by_another() -> None:
    numbers = Numbers()
    stray = Numbers().number("one")
    assert numbers.name(stray) not in ("", "one")
    assert numbers.number("one") != stray


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering, "_LAST", 3)
    numbers = Numbers()
    assert {numbers.number(name) for name in "abc"} == {1, 2, 3}
    with pytest.raises(NumbersExhausted):
        numbers.number("d")
