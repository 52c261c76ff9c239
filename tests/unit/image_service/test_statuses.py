"""What people read at each step, and when it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_api import conditions
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.image import Image, ImageFormat, ImagePhase, ImageStatus
from nephos_operator.image_service import statuses
from nephos_operator.image_service.collection import KEPT_S, plan_collection
from nephos_operator.image_service.qemu_info import Found
from nephos_operator.image_service.statuses import Report, Stored, is_worth_a_report

NOW, LATER = "2026-11-21T14:00:00Z", "2026-11-21T15:00:00Z"


def image(status: ImageStatus | None = None, generation: int = 1) -> Image:
    return Image.model_validate(
        {
            "metadata": {"name": "tiny", "namespace": "demo", "uid": "uid-1", "generation": generation},
            "spec": {"source": {"url": "http://a.example/"}, "format": "qcow2"},
            "status": (status or ImageStatus()).to_wire(),
        }
    )


STORED = Stored("a" * 64, 100, Found(ImageFormat.QCOW2, 1000))


def test_an_active_image_says_all_that_hosts_and_programs_need() -> None:
    status = statuses.active(image(), STORED, NOW)
    assert (status.phase, status.sha256, status.size_bytes) == (ImagePhase.ACTIVE, "a" * 64, 100)
    assert (status.virtual_size_bytes, status.format, status.progress_percent) == (1000, ImageFormat.QCOW2, 100)
    assert conditions.is_true(status.conditions, "Ready")
    assert status.observed_generation == 1


def test_a_killed_image_is_stalled_with_a_reason_and_a_sentence() -> None:
    status = statuses.killed(image(), PermanentFault("there is nothing", reason="SourceGone"), NOW)
    stalled = conditions.find(status.conditions, "Stalled")
    assert status.phase is ImagePhase.KILLED
    assert stalled is not None
    assert (stalled.reason, stalled.message) == ("SourceGone", "There is nothing.")
    assert not conditions.is_true(status.conditions, "Ready")


def test_an_interrupted_image_is_reconciling_and_says_that_it_is_tried_again() -> None:
    status = statuses.interrupted(image(), TemporaryFault("no answer", reason="SourceUnavailable"), 40, NOW)
    reconciling = conditions.find(status.conditions, "Reconciling")
    assert reconciling is not None
    assert reconciling.message == "No answer. It is tried again."
    assert status.progress_percent == 40


def test_progress_does_not_move_the_transition_times() -> None:
    first = statuses.importing(image(), 10, NOW)
    second = statuses.importing(image(first), 20, LATER)
    assert second.conditions == first.conditions


def test_a_settled_image_follows_the_generation_of_its_spec() -> None:
    status = statuses.observed(image(statuses.active(image(), STORED, NOW), generation=2))
    assert status.observed_generation == 2
    assert {condition.observed_generation for condition in status.conditions} == {2}


@pytest.mark.parametrize(
    ("status", "is_stored", "is_settled"),
    [
        (ImageStatus(), False, False),
        (ImageStatus(phase=ImagePhase.QUEUED), False, False),
        (ImageStatus(phase=ImagePhase.IMPORTING), False, False),
        (ImageStatus(phase=ImagePhase.ACTIVE), True, True),
        (ImageStatus(phase=ImagePhase.ACTIVE), False, False),
        (ImageStatus(phase=ImagePhase.KILLED, observed_generation=1), False, True),
        (ImageStatus(phase=ImagePhase.KILLED, observed_generation=0), False, False),
    ],
)
def test_what_is_not_there_is_fetched_and_what_failed_waits_for_a_change(
    status: ImageStatus, is_stored: bool, is_settled: bool
) -> None:
    assert statuses.is_settled(image(status), is_stored=is_stored) is is_settled


@pytest.mark.parametrize(
    ("reason", "failures", "delay_s"),
    [
        ("SourceUnavailable", 0, 2),
        ("SourceUnavailable", 1, 2),
        ("SourceUnavailable", 2, 4),
        ("NameNotResolved", 5, 32),
        ("NameNotResolved", 9, 300),
        ("NameNotResolved", 10_000, 300),
        ("StoreFull", 1, 300),
    ],
)
def test_the_next_try_comes_soon_after_progress_and_late_on_a_full_disk(
    reason: str, failures: int, delay_s: float
) -> None:
    assert statuses.next_try_s(TemporaryFault("m", reason=reason), failures) == delay_s


@pytest.mark.parametrize(
    ("last", "percent", "now", "is_worth"),
    [
        (None, None, 0.0, False),
        (None, 0, 0.0, True),
        (Report(None, 0.0), 1, 0.1, True),
        (Report(10, 0.0), 10, 60.0, False),
        (Report(10, 0.0), 11, 1.9, False),
        (Report(10, 0.0), 11, 2.0, True),
        (Report(10, 0.0), 15, 0.5, True),
        (Report(10, 0.0), 90, 0.4, False),
    ],
)
def test_progress_is_written_in_steps(last: Report | None, percent: int | None, now: float, is_worth: bool) -> None:
    assert is_worth_a_report(last, percent, now) is is_worth


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=200))
def test_a_fetch_of_any_pace_costs_at_most_two_writes_a_second(pauses_s: list[float]) -> None:
    now, last, writes = 0.0, None, 0
    for step, pause_s in enumerate(pauses_s):
        now += pause_s
        percent = step * 100 // len(pauses_s)
        if is_worth_a_report(last, percent, now):
            last, writes = Report(percent, now), writes + 1
    assert writes <= 1 + now / 0.5


@pytest.mark.parametrize(
    ("reason_kept", "present", "used", "age_s", "removed"),
    [
        ("in use", {"a"}, {"a"}, KEPT_S, set()),
        ("unused for less than a day", {"a"}, set(), KEPT_S - 1, set()),
        ("nothing: unused for a day", {"a", "b"}, {"b"}, KEPT_S, {"a"}),
        ("so much at once", {str(number) for number in range(30)}, set(), KEPT_S, set()),
    ],
)
def test_content_is_kept_because_it_is(
    reason_kept: str, present: set[str], used: set[str], age_s: float, removed: set[str]
) -> None:
    first = plan_collection(frozenset(present), frozenset(used), {}, 0.0)
    assert first.removed == frozenset()
    assert plan_collection(frozenset(present), frozenset(used), first.unused_since, age_s).removed == removed


def test_content_that_is_needed_again_starts_its_day_anew() -> None:
    first = plan_collection(frozenset("a"), frozenset(), {}, 0.0)
    second = plan_collection(frozenset("a"), frozenset("a"), first.unused_since, KEPT_S)
    third = plan_collection(frozenset("a"), frozenset(), second.unused_since, KEPT_S + 1)
    assert third.removed == frozenset()
