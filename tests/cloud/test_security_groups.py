"""Security groups on real guests: what comes in, what goes out, and what a change does to those that run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from nephos_dev import internet, ssh
from nephos_dev.asking import Ask, Guests, eventually, eventually_not, outside, stream
from nephos_dev.cloud import Cloud
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest

WORLD = internet.WORLD[0][0]
EVERYBODY = "0.0.0.0/0"
PING = {"direction": "Ingress", "protocol": "ICMP", "remoteCIDR": EVERYBODY}
SSH = {"direction": "Ingress", "protocol": "TCP", "portMin": 22, "portMax": 22, "remoteCIDR": EVERYBODY}
HTTP_FROM_APP = {"direction": "Ingress", "protocol": "TCP", "portMin": 80, "remoteGroup": "app"}
CHANGE_BOUND_S = 10.0
"""For a change to be enforced, on two cores that emulate guests; the bench has the real figure."""


@dataclass(frozen=True)
class Town:
    """Three Servers on one network, the first one with a floating address."""

    cloud: Cloud
    project: Tenant
    guests: Guests
    address: str
    """Floating, of `front`."""

    def of(self, server: str) -> str:
        """Return a Server's address on the network."""
        found = self.project.wait_phase(server, "Active")
        return str(found["status"]["addresses"][0]["address"])

    def allow(self, *rules: dict[str, Any], group: str = "web") -> None:
        """Let a group have exactly these rules."""
        self.project.patch_spec("securitygroup", group, {"rules": list(rules)})

    def regroup(self, server: str, *groups: str) -> None:
        """Let a Server have exactly these groups."""
        self.project.patch_spec("server", server, {"securityGroups": list(groups)})

    def ping(self) -> Ask:
        """Return the question whether the outside reaches `front`."""
        return outside(self.cloud.layout, "ping", "-c", "1", "-W", "1", self.address)

    def fetch(self, server: str, target: str) -> Ask:
        """Return the question whether one Server reads the page of another."""
        return self.guests.ask(server, f"timeout 1 wget -q -O - http://{self.of(target)}/")


@pytest.fixture(scope="module")
def town(cloud: Cloud, project: Tenant, guests: Guests) -> Town:
    project.apply(
        manifest("KeyPair", "ops", publicKey=ssh.ensure_key(cloud.layout)),
        *network_manifests("blue", "10.72.0.0/24"),
        manifest("Router", "edge", externalNetwork="public", subnets=["blue-v4"]),
        *(manifest("SecurityGroup", name) for name in ("web", "app", "closed")),
        manifest("ServerGroup", "apart", policy="SoftAntiAffinity"),
        *(
            server_manifest(name, "blue", serverGroup="apart", keyPairs=["ops"])
            for name in ("front", "back", "stranger")
        ),
        manifest("FloatingIP", "front", externalNetwork="public", server="front"),
    )
    for name in ("front", "back", "stranger"):
        project.wait_phase(name, "Active")
    bound = project.wait_phase("front", "Active", kind="floatingip")
    return Town(cloud, project, guests, bound["status"]["address"])


@pytest.fixture(autouse=True)
def as_at_first(town: Town) -> Iterator[None]:
    yield
    for group in ("web", "app"):
        town.allow(group=group)
    for server in ("front", "back", "stranger"):
        town.project.patch_spec("server", server, {"securityGroups": None})


def test_members_of_the_default_group_reach_each_other_and_the_world_and_nobody_reaches_them(town: Town) -> None:
    eventually(town.fetch("front", "back"), "back", what="a member of the default group")
    eventually(town.guests.ask("front", f"ping -c 1 -W 2 {WORLD}"), what="the world")
    assert town.ping()().status, "the outside is no member"


def test_a_rule_that_is_added_acts_on_a_running_server(town: Town) -> None:
    town.regroup("front", "default", "web")
    eventually(town.guests.ask("front", f"ping -c 1 -W 2 {WORLD}"), what="the world")
    assert town.ping()().status
    town.allow(PING)
    eventually(town.ping(), what="ping from the outside", timeout_s=CHANGE_BOUND_S)


@pytest.mark.parametrize(
    ("rules", "passes", "refused"),
    [
        ([{"protocol": "ICMP", "icmpType": 8, "icmpCode": 0}], "ping", "page"),
        (
            [
                {"protocol": "6"},
                {"protocol": "ICMP", "icmpType": 13},
                {"protocol": "ICMP", "icmpType": 8, "icmpCode": 1},
            ],
            "page",
            "ping",
        ),
        ([{"protocol": "1"}, {"protocol": "47"}], "ping", "page"),
    ],
    ids=["a type and a code of ICMP", "a number beside other types and codes", "ICMP by its number"],
)
def test_a_rule_may_name_a_type_of_icmp_or_a_protocol_by_its_number(
    town: Town, rules: list[dict[str, Any]], passes: str, refused: str
) -> None:
    town.regroup("front", "web")
    town.allow(*({"direction": "Ingress", "remoteCIDR": EVERYBODY, **rule} for rule in rules))
    asked = {
        "ping": town.guests.ask("stranger", f"ping -c 1 -W 1 {town.of('front')}"),
        "page": town.fetch("stranger", "front"),
    }
    eventually_not(asked[refused], what=f"{refused}, of which no rule speaks", timeout_s=CHANGE_BOUND_S)
    eventually(asked[passes], what=f"{passes}, which a rule allows", timeout_s=CHANGE_BOUND_S)
    assert asked[refused]().status, f"{refused} still"


def test_a_rule_that_is_taken_away_cuts_the_connections_that_it_allowed(town: Town) -> None:
    town.regroup("front", "default", "web")
    town.allow(SSH, PING)
    login = ssh.command(town.cloud.layout, town.address, "hostname")
    eventually(outside(town.cloud.layout, *login), "front", what="ssh from the outside")
    ticking = ssh.command(town.cloud.layout, town.address, "while echo tick; do usleep 200000; done")
    with stream(town.cloud.layout, ticking) as ticks:
        ticks.wait_flowing(timeout_s=20)
        town.allow(PING)
        ticks.wait_silent(for_s=2, timeout_s=CHANGE_BOUND_S)
    eventually(town.ping(), what="what is still allowed")


def test_a_remote_group_means_its_members_of_now(town: Town) -> None:
    town.allow(HTTP_FROM_APP)
    town.regroup("back", "web")
    town.regroup("front", "app")
    town.regroup("stranger", "closed")
    eventually(town.fetch("front", "back"), "back", what="a member of the remote group")
    eventually_not(town.fetch("stranger", "back"), what="nobody else", timeout_s=CHANGE_BOUND_S)
    town.regroup("stranger", "app")
    eventually(town.fetch("stranger", "back"), "back", what="a new member", timeout_s=CHANGE_BOUND_S)
    town.regroup("front", "closed")
    eventually_not(town.fetch("front", "back"), what="a former member", timeout_s=CHANGE_BOUND_S)


def test_rules_of_several_groups_add_up(town: Town) -> None:
    town.allow(PING)
    town.allow(HTTP_FROM_APP, group="app")
    town.regroup("front", "web", "app")
    town.regroup("back", "app")
    eventually(town.ping(), what="by the rule of one group")
    eventually(town.fetch("back", "front"), "front", what="by the rule of the other")


def test_a_server_without_groups_gets_its_address_and_its_metadata_and_nothing_else(town: Town) -> None:
    town.project.apply(server_manifest("hermit", "blue", securityGroups=[], keyPairs=["ops"]))
    try:
        address = town.of("hermit")
        eventually(town.guests.ask("hermit", "ip -4 address show dev eth0"), address, what="DHCP")
        metadata = "timeout 5 wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"
        eventually(town.guests.ask("hermit", metadata), "hermit", what="metadata")
        assert town.guests.run("hermit", f"ping -c 2 -W 1 {town.of('front')}").status, "nothing leaves"
        assert town.fetch("front", "hermit")().status, "nothing comes in"
    finally:
        town.project.delete("server", "hermit")


def test_a_group_without_default_rules_lets_nothing_out_but_what_its_rules_say(town: Town) -> None:
    out = {"direction": "Egress", "protocol": "ICMP", "remoteCIDR": f"{WORLD}/32"}
    town.project.apply(manifest("SecurityGroup", "strict", defaultRules=[], rules=[out]))
    town.regroup("stranger", "strict")
    try:
        eventually(town.guests.ask("stranger", f"ping -c 1 -W 2 {WORLD}"), what="what a rule allows")
        eventually_not(town.fetch("stranger", "back"), what="the rest", timeout_s=CHANGE_BOUND_S)
        world = town.guests.ask("stranger", f"timeout 1 wget -q -O - http://{WORLD}/")
        eventually_not(world, what="the world by TCP", timeout_s=CHANGE_BOUND_S)
    finally:
        town.regroup("stranger", "default")
        town.project.delete("securitygroup", "strict")


def test_a_group_that_is_in_use_says_by_whom_when_it_is_deleted_and_goes_once_it_is_free(town: Town) -> None:
    town.project.apply(manifest("SecurityGroup", "held"))
    town.regroup("back", "held")
    town.project.wait(
        "port",
        "back-net0",
        lambda found: "" if "held" in str(found["spec"].get("securityGroupReferences")) else "not regrouped yet",
    )
    town.project.delete("securitygroup", "held", wait=False)
    town.project.wait(
        "securitygroup", "held", lambda found: "" if "back-net0" in str(found.get("status")) else "it does not say"
    )
    town.regroup("back", "default")
    town.project.cluster.kubectl(
        "wait", "--for=delete", "securitygroup/held", f"--namespace={town.project.name}", "--timeout=60s"
    )
