"""The example that `make demo` applies, exactly as it is but for the key."""

from contextlib import ExitStack

import pytest

from cloud.sound import wait_sound
from nephos_dev import quickstart
from nephos_dev.cloud import Cloud
from nephos_dev.quickstart import EXAMPLE, NAMESPACE, OUTSIDE

KINDS = ("servers", "ports", "networks", "subnets", "routers", "floatingips", "securitygroups")


@pytest.mark.parametrize("order", ["as written", "backwards"])
def test_it_does_what_it_says_and_is_deleted_clean_in_any_order(cloud: Cloud, order: str) -> None:
    quickstart.apply(cloud)
    known = quickstart.wait_active(cloud, print)
    asked = quickstart.questions(cloud.layout, known)
    with ExitStack() as stack:
        consoles = {
            name: stack.enter_context(cloud.console(NAMESPACE, name))
            for name in {question.asked for question in asked} - {OUTSIDE}
        }
        for console in consoles.values():
            console.log_in()
        for question in asked:
            quickstart.ask(cloud, question, consoles)
    wait_sound(cloud)

    deletions = {"as written": [("-f", str(EXAMPLE))], "backwards": [("project", NAMESPACE), ("-f", str(EXAMPLE))]}
    for arguments in deletions[order]:
        cloud.kubectl("delete", *arguments, "--ignore-not-found", "--timeout=120s")
    for kind in KINDS:
        assert cloud.kubectl("get", f"{kind}.nephos.cloud", f"--namespace={NAMESPACE}", "--output=name") == ""
    wait_sound(cloud)
