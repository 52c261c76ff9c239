"""What is read from a guest's serial console is what the command printed, and nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nephos_dev.console import Console, printed
from nephos_dev.progress import FailureError


def test_a_terminals_ends_of_lines_and_escapes_are_no_output() -> None:
    assert printed("\x1b[6none\r\ntwo\r\r\n") == "one\ntwo"


def test_what_the_guests_kernel_and_services_say_meanwhile_is_no_output() -> None:
    assert printed("tiny: eth0 has 10.60.0.2/24\r\nweb\r\ntiny: ready\r\n") == "web"
    assert printed("web\r\n[   42.123456] rcu: INFO: a stall\r\n") == "web"
    assert printed("it is tiny: so\r\n") == "it is tiny: so"


def test_a_console_that_went_with_its_guest_is_a_failure_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"console .*/gone is gone: No such file"):
        Console(tmp_path / "gone")


@pytest.mark.parametrize(
    "use",
    [
        lambda console: console.log_in(timeout_s=2),
        lambda console: console.run("true", timeout_s=2),
        lambda console: console.send_line("poweroff"),
    ],
)
def test_a_guest_that_ends_beneath_an_open_console_is_a_failure_that_says_so(use: Callable[[Console], object]) -> None:
    guest, terminal = os.openpty()
    with Console(Path(os.ttyname(terminal))) as console:
        os.close(terminal)
        os.close(guest)
        with pytest.raises(FailureError, match="the guest's console was closed"):
            use(console)
