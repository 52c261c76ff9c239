"""What an Image's status says at each step. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nephos_api import conditions
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.image import Image, ImagePhase, ImageStatus
from nephos_operator.image_service.qemu_info import Found

RETRY_FIRST_S: Final = 2.0
RETRY_MOST_S: Final = 300.0
_STEP_PERCENT: Final = 5
_STEP_S: Final = 2.0
_LEAST_S: Final = 0.5


@dataclass(frozen=True)
class Stored:
    """An image that is in the store."""

    sha256: str
    size_bytes: int
    found: Found


@dataclass(frozen=True)
class Report:
    """What was last said of a fetch, and when (seconds of any clock)."""

    percent: int | None
    at: float


def percent_of(fetched_bytes: int, total_bytes: int | None) -> int | None:
    """Return the percentage that is fetched, or None where nobody knows the whole."""
    return min(100, fetched_bytes * 100 // total_bytes) if total_bytes else None


def is_worth_a_report(last: Report | None, percent: int | None, now: float) -> bool:
    """Tell whether progress is to be written: a step of 5 %, or any after 2 s; two writes a second at most."""
    if percent is None:
        return False
    if last is None or last.percent is None:
        return True
    elapsed_s, step = now - last.at, percent - last.percent
    return elapsed_s >= _LEAST_S and step != 0 and (step >= _STEP_PERCENT or elapsed_s >= _STEP_S)


def is_settled(image: Image, *, is_stored: bool) -> bool:
    """Tell whether nothing is to be fetched for the image: it is there, or its spec can't lead there."""
    if image.status.phase is ImagePhase.KILLED:
        return image.status.observed_generation == image.metadata.generation
    return image.status.phase is ImagePhase.ACTIVE and is_stored


def queued(image: Image, now: str) -> ImageStatus:
    """Return the status of an image that waits for other fetches."""
    return _underway(image, ImagePhase.QUEUED, "Queued", "The image waits for others to be fetched.", None, now)


def importing(image: Image, percent: int | None, now: str) -> ImageStatus:
    """Return the status of an image that is being fetched."""
    message = "The image is being fetched from its source and checked."
    return _underway(image, ImagePhase.IMPORTING, "Importing", message, percent, now)


def interrupted(image: Image, fault: TemporaryFault, percent: int | None, now: str) -> ImageStatus:
    """Return the status of an image whose fetch failed and is tried again."""
    message = f"{_sentence(fault.message)} It is tried again."
    return _underway(image, ImagePhase.IMPORTING, fault.reason, message, percent, now)


def active(image: Image, stored: Stored, now: str) -> ImageStatus:
    """Return the status of an image that is in the store."""
    generation = image.metadata.generation
    said = conditions.ready("Active", "The image is in the store.", now=now, generation=generation)
    return ImageStatus(
        observed_generation=generation,
        conditions=conditions.merge(image.status.conditions, said),
        phase=ImagePhase.ACTIVE,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        virtual_size_bytes=stored.found.virtual_size_bytes,
        format=image.spec.format,
        progress_percent=100,
    )


def killed(image: Image, fault: PermanentFault, now: str) -> ImageStatus:
    """Return the status of an image that can't become Active as its spec is."""
    generation = image.metadata.generation
    said = conditions.stalled(fault.reason, _sentence(fault.message), now=now, generation=generation)
    return ImageStatus(
        observed_generation=generation,
        conditions=conditions.merge(image.status.conditions, said),
        phase=ImagePhase.KILLED,
    )


def observed(image: Image) -> ImageStatus:
    """Return the status of a settled image whose spec changed in what does not concern its content."""
    generation = image.metadata.generation
    return image.status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": tuple(
                condition.model_copy(update={"observed_generation": generation})
                for condition in image.status.conditions
            ),
        }
    )


def next_try_s(fault: TemporaryFault, failures: int) -> float:
    """Return in how many seconds to try again after so many failures in a row (0: the last try brought bytes).

    Late where only people can make room.
    """
    if fault.reason == "StoreFull":
        return RETRY_MOST_S
    return min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** max(0, min(failures, 20) - 1))


def _underway(image: Image, phase: ImagePhase, reason: str, message: str, percent: int | None, now: str) -> ImageStatus:
    generation = image.metadata.generation
    said = conditions.reconciling(reason, message[:1024], now=now, generation=generation)
    return ImageStatus(
        observed_generation=generation,
        conditions=conditions.merge(image.status.conditions, said),
        phase=phase,
        progress_percent=percent,
    )


def _sentence(message: str) -> str:
    """Return the message with a capital letter and a full stop."""
    return f"{message[:1].upper()}{message[1:].rstrip('.')}."[:1000]
