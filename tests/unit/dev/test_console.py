"""What is read from a guest's serial console is what the command printed, and nothing else."""

from nephos_dev.console import printed


def test_a_terminals_ends_of_lines_and_escapes_are_no_output() -> None:
    assert printed("\x1b[6none\r\ntwo\r\r\n") == "one\ntwo"


def test_what_the_guests_kernel_and_services_say_meanwhile_is_no_output() -> None:
    assert printed("tiny: eth0 has 10.60.0.2/24\r\nweb\r\ntiny: ready\r\n") == "web"
    assert printed("web\r\n[   42.123456] rcu: INFO: a stall\r\n") == "web"
    assert printed("it is tiny: so\r\n") == "it is tiny: so"
