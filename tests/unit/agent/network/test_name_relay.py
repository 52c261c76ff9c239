"""Names of the world: who is asked, and what is said when nobody answers."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from nephos_agent.network.linux import name_relay
from nephos_agent.network.linux.name_relay import NameRelay, failure, system_resolvers

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


async def test_questions_of_one_network_that_nobody_answers_keep_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(name_relay, "_MAX_PENDING", 2)
    with _bound() as resolver:
        relay = NameRelay(("127.0.0.1",), resolver.getsockname()[1])
        asking = {uid: await _serve(relay, uid) for uid in ("network-1", "network-2")}
        for number in range(20):
            asking["network-1"].send(bytes([1, number]) + QUESTION[2:])
        asked = {(await _next(resolver))[0][:2] for _ in range(2)}
        assert asked < {bytes([1, number]) for number in range(20)}
        asking["network-2"].send(QUESTION)
        question, sender = await _next(resolver)
        assert question == QUESTION
        await asyncio.get_running_loop().sock_sendto(resolver, failure(question), sender)
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(asking["network-2"], 512) == failure(QUESTION)
        relay.close()
        for each in asking.values():
            each.close()


def _bound() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind(("127.0.0.1", 0))
    return opened


async def _serve(relay: NameRelay, network_uid: str) -> socket.socket:
    """Have a network's questions relayed; return a socket that asks there."""
    here, asking = _bound(), _bound()
    asking.connect(here.getsockname())
    streams = socket.create_server(("127.0.0.1", 0))
    streams.setblocking(False)
    await relay.serve(network_uid, here, streams)
    return asking


async def _next(resolver: socket.socket) -> tuple[bytes, tuple[str, int]]:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recvfrom(resolver, 512)
