"""The explainer: objects, reports of hosts and a question give the way of a packet, hop by hop. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from nephos_agent.path.model import Explanation, Hop, Judgement, Objects, Question
from nephos_agent.path.programmed import judge
from nephos_agent.path.report import Report
from nephos_agent.path.steps import Step
from nephos_agent.path.view import View
from nephos_agent.path.walk import walk


def explain(
    objects: Objects, question: Question, reports: Iterable[Report] = (), *, namespace_prefix: str = "nephos"
) -> Explanation:
    """Return every hop in order. A filter that refuses ends nothing: what lies behind it is told too.

    ``namespace_prefix`` is the agents' own (it is part of the names of what they make).
    """
    by_host = {report.host: report for report in reports}
    steps = walk(View(objects), question, namespace_prefix)
    return Explanation(tuple(_hop(step, by_host.get(step.host or "")) for step in steps))


def render(explanation: Explanation) -> str:
    """Return the explanation for people, a line a hop."""
    lines = [line for hop in explanation.hops for line in _lines(hop)]
    refused = explanation.refused_as_programmed or explanation.refused_by_objects
    verdict = "It gets through." if refused is None else f"It ends at {refused.stage}."
    return "\n".join((*lines, verdict))


def _hop(step: Step, report: Report | None) -> Hop:
    programmed, differences = judge(step, report)
    return Hop(step.stage, step.host, Judgement(step.passes, step.because), programmed, differences)


def _lines(hop: Hop) -> Iterable[str]:
    yield f"{_sign(hop.by_objects)} {hop.stage.value:18} {hop.host or '-':12} {hop.by_objects.because}"
    if hop.as_programmed and hop.as_programmed.passes != hop.by_objects.passes:
        yield f"{_sign(hop.as_programmed)} {'as programmed':18} {'':12} {hop.as_programmed.because}"
    for difference in hop.differences:
        yield f"  {'':18} {'':12} {difference}"


def _sign(judgement: Judgement) -> str:
    return "+" if judgement.passes else "-"
