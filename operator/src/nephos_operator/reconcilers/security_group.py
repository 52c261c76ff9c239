"""SecurityGroup: the groups that its rules name; an end once no Port has it. A Project's own default group."""

from __future__ import annotations

from typing import Any

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Result
from nephos_api.resources import Project, SecurityGroup
from nephos_api.resources.security_group import RemoteGroup, SecurityGroupStatus
from nephos_operator import counted
from nephos_operator.context import Context
from nephos_operator.quota import rule_count
from nephos_operator.reconcilers import in_use
from nephos_operator.reconcilers.life import live
from nephos_operator.security_groups import DEFAULT
from nephos_operator.statuses import settle
from nephos_operator.verdict import Problem, Waits


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the SecurityGroup to what it should be, or to its end."""
    return await live(context.store.security_groups.find(key), context, keep=_keep, release=_release)


async def _keep(group: SecurityGroup, context: Context) -> Result:
    status = SecurityGroupStatus(remote_groups=remote_groups(group, context), rule_count=rule_count(group))
    return await settle(group, status, problem_of(group, context), context)


async def _release(group: SecurityGroup, context: Context) -> Result:
    """Let the group go once no Port has it."""
    users = in_use.users_of(group.uid, (context.store.ports, "security_group"))
    remedy = "take it out of their securityGroups, or delete the Servers or Ports first"
    return await in_use.release(group, group.status, users, context, remedy=remedy)


def remote_groups(group: SecurityGroup, context: Context) -> tuple[RemoteGroup, ...]:
    """Return the groups that the rules name and that exist, each once, by name."""
    names = sorted({rule.remote_group for rule in _rules(group) if rule.remote_group})
    found = (context.store.security_groups.get(name, group.metadata.namespace) for name in names)
    return tuple(RemoteGroup(name=remote.metadata.name, uid=remote.uid) for remote in found if remote is not None)


def problem_of(group: SecurityGroup, context: Context) -> Problem | None:
    """Return what the group waits for, or is one too many of; its rules hold all the same, as far as they can."""
    if refused := counted.problem(group, context):
        return refused
    found = {remote.name for remote in remote_groups(group, context)}
    for field, rules in (("rules", group.spec.rules), ("defaultRules", group.spec.default_rules)):
        for number, rule in enumerate(rules):
            if rule.remote_group and rule.remote_group not in found:
                return Waits(
                    "NoSecurityGroup",
                    f"waits for SecurityGroup {group.metadata.namespace}/{rule.remote_group}, which"
                    f" spec.{field}[{number}].remoteGroup names; until it is there that rule matches nothing",
                )
    return None


async def ensure_default(project: Project, context: Context) -> None:
    """Make the Project's default group where it is missing; from then on its spec is the users'."""
    if context.store.security_groups.get(DEFAULT, project.metadata.name) is None:
        await context.kube.create(SecurityGroup, default_group_body(project))


def default_group_body(project: Project) -> dict[str, Any]:
    """Return the group that a Project begins with: in from its own members, out to everybody."""
    members = [{"direction": "Ingress", "family": family, "remoteGroup": DEFAULT} for family in ("IPv4", "IPv6")]
    spec = {"description": "Servers and Ports that name no group", "rules": members}
    return {"metadata": {"name": DEFAULT, "namespace": project.metadata.name}, "spec": spec}


def _rules(group: SecurityGroup) -> tuple[Any, ...]:
    return (*group.spec.rules, *group.spec.default_rules)
