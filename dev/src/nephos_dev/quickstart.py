"""The example that `make demo` applies: its objects, when all of them stand, and the questions that prove it works."""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from nephos_dev import internet, ssh
from nephos_dev.asking import eventually, in_guest, outside
from nephos_dev.cloud import Cloud
from nephos_dev.console import Console
from nephos_dev.layout import WORK_TREE, Layout
from nephos_dev.waiting import NotYet, wait_for

EXAMPLE = WORK_TREE / "examples" / "quickstart.yaml"
NAMESPACE = "demo"
OUTSIDE = "internet"
_KINDS = ("servers", "routers", "floatingips")
_AWAITED = (("Server", "web-1"), ("Server", "web-2"), ("Router", "edge"), ("FloatingIP", "web"))
_KEY_PAIR = ("KeyPair", "ops")
_ACTIVE_TIMEOUT_S = 180
_ANSWER_TIMEOUT_S = 120

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """By which addresses the example's parts are reached."""

    second: str
    """Of web-2, on the network of both."""
    floating: str
    """Of web-1, from the outside."""
    router: str
    """What the outside sees of a Server without a floating one."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A command, where it is run, and what has to be in its answer."""

    what: str
    asked: str
    """A Server's name, or OUTSIDE."""
    command: tuple[str, ...]
    expected: str = ""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question as it was typed, and the answer."""

    question: Question
    output: str


def objects(public_key: str) -> tuple[Document, ...]:
    """Return the example's objects, with that key in the place of the one that is nobody's."""
    documents = [document for document in yaml.safe_load_all(EXAMPLE.read_text()) if document]
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == _KEY_PAIR:
            document["spec"]["publicKey"] = public_key
    return tuple(documents)


def apply(cloud: Cloud) -> None:
    """Apply the example with this cloud's own key. Raises FailureError."""
    cloud.cluster.apply_objects(*objects(ssh.ensure_key(cloud.layout)))


def wait_active(cloud: Cloud, note: Callable[[str], None]) -> Addresses:
    """Wait until Servers, Router and FloatingIP are Active, and note each of their steps. Raises FailureError."""
    shown: dict[tuple[str, str], str] = {}

    def probe() -> Addresses:
        found = _read(cloud)
        for key, document in found.items():
            told = describe(document)
            if shown.get(key) != told:
                shown[key] = told
                note(f"{' '.join(key)}: {told}")
        waiting = [key for key in _AWAITED if _status(found.get(key)).get("phase") != "Active"]
        if waiting:
            raise NotYet(", ".join(f"{' '.join(key)} is {shown.get(key, 'not there')}" for key in waiting))
        return addresses(found)

    return wait_for(probe, what="the example's objects Active", timeout_s=_ACTIVE_TIMEOUT_S)


def addresses(found: Mapping[tuple[str, str], Document]) -> Addresses:
    """Return the addresses of objects that are Active. Raises NotYet while one has none."""
    external = _status(found["Router", "edge"]).get("external") or {}
    own = [held["address"] for held in external.get("addresses", []) if ":" not in held["address"]]
    second = [entry["address"] for entry in _status(found["Server", "web-2"]).get("addresses", [])]
    floating = _status(found["FloatingIP", "web"]).get("address")
    if not (own and second and floating):
        raise NotYet("an object that is Active has no address")
    return Addresses(second=second[0], floating=floating, router=own[0])


def describe(document: Document) -> str:
    """Return phase, host and, while it is not Active, what the Ready condition says."""
    status = _status(document)
    phase = status.get("phase", "accepted")
    host = f" on {status['host']}" if status.get("host") else ""
    ready: Document = next((item for item in status.get("conditions", []) if item["type"] == "Ready"), {})
    why = f": {ready['message']}" if phase != "Active" and ready.get("message") else ""
    return f"{phase}{host}{why}"


def questions(layout: Layout, known: Addresses) -> tuple[Question, ...]:
    """Return what is asked to see that the example does what it says."""
    ping = ("ping", "-c", "2", "-W", "2")
    world = f"http://{internet.WORLD[0][0]}/"
    return (
        Question(what="web-1 pings web-2 by address", asked="web-1", command=(*ping, known.second)),
        Question(what="web-1 pings web-2 by name", asked="web-1", command=(*ping, "web-2")),
        Question(what="the internet pings the floating IP", asked=OUTSIDE, command=(*ping, known.floating)),
        Question(
            what="the internet reads web-1's page",
            asked=OUTSIDE,
            command=("curl", "-sS", "--max-time", "5", f"http://{known.floating}/"),
            expected="hello from web-1",
        ),
        Question(
            what="the internet logs in by ssh with the key pair",
            asked=OUTSIDE,
            command=ssh.command(layout, known.floating, "hostname"),
            expected="web-1",
        ),
        Question(
            what="web-2 reads a page of the internet's, which sees the router's address",
            asked="web-2",
            command=("timeout", "5", "wget", "-q", "-O", "-", world),
            expected=known.router,
        ),
    )


def ask(cloud: Cloud, question: Question, consoles: Mapping[str, Console]) -> Exchange:
    """Ask until the answer is right. Raises FailureError with the last one."""

    if question.asked == OUTSIDE:
        asked = outside(cloud.layout, *question.command)
    else:
        asked = in_guest(consoles[question.asked], shlex.join(question.command))
    answer = eventually(asked, question.expected, what=question.what, timeout_s=_ANSWER_TIMEOUT_S)
    return Exchange(question=question, output=answer.output)


def show(layout: Layout, exchanges: Iterable[Exchange]) -> list[str]:
    """Return the exchanges as a terminal would show them; paths as seen from the work tree."""
    lines = []
    for exchange in exchanges:
        typed = shlex.join(exchange.question.command).replace(f"{layout.work_tree}/", "")
        lines += [f"{exchange.question.asked}# {typed}", *exchange.output.splitlines(), ""]
    return lines[:-1]


def _read(cloud: Cloud) -> dict[tuple[str, str], Document]:
    kinds = ",".join(f"{kind}.nephos.cloud" for kind in _KINDS)
    listed = json.loads(cloud.kubectl("get", kinds, f"--namespace={NAMESPACE}", "--output=json"))
    return {(item["kind"], item["metadata"]["name"]): item for item in listed["items"]}


def _status(document: Document | None) -> Document:
    status: Document = (document or {}).get("status", {})
    return status
