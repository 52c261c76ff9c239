"""Waiting for a condition, with a deadline and a reason for those who waited in vain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from nephos_dev.progress import FailureError

T = TypeVar("T")


class NotYet(Exception):  # why: a state that passes, not an error
    """The condition does not hold yet; the text says what is missing."""


@contextmanager
def passing(*errors: type[Exception]) -> Iterator[None]:
    """Within it, these errors are NotYet: what fails so now may not a moment later."""
    try:
        yield
    except errors as error:
        raise NotYet(str(error)) from error


def wait_for(probe: Callable[[], T], *, what: str, timeout_s: float, most_pause_s: float = 0.5) -> T:
    """Return what `probe` returns once it no longer raises NotYet. Raises FailureError after `timeout_s`."""
    attempts = Retrying(
        retry=retry_if_exception_type(NotYet),
        stop=stop_after_delay(timeout_s),
        wait=wait_exponential(multiplier=0.02, max=most_pause_s),
    )
    try:
        return attempts(probe)
    except RetryError as error:
        missing = error.last_attempt.exception()
        raise FailureError(f"{what}: not after {timeout_s:g} s: {missing}") from missing
