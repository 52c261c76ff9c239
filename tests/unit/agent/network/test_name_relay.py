"""Names of the world: who is asked, and what is said when nobody answers."""

from __future__ import annotations

from pathlib import Path

from nephos_agent.network.linux.name_relay import failure, system_resolvers

QUESTION = bytes.fromhex("abcd01000001000000000000") + b"\x03www\x07example\x03org\0\0\1\0\1"


def test_the_hosts_own_resolvers_are_asked_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# local\nsearch example.org\nnameserver 192.0.2.53\nnameserver fd00::53\noptions edns0\n")
    assert system_resolvers(path) == ("192.0.2.53", "fd00::53")
    assert system_resolvers(tmp_path / "missing") == ()


def test_a_question_that_nobody_can_answer_is_answered_with_a_failure() -> None:
    answer = failure(QUESTION)
    assert answer[:2] == QUESTION[:2]
    assert answer[2] & 0x80
    assert answer[3] & 0x0F == 2
    assert answer[4:] == QUESTION[4:]
