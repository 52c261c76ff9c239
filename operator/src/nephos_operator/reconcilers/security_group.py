"""SecurityGroup: the groups that its rules name; an end once no Port has it. A Project's own default group."""

from __future__ import annotations

from typing import Any

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result
from nephos_api.resources import Project, SecurityGroup
from nephos_api.resources.security_group import RemoteGroup, SecurityGroupStatus
from nephos_operator import counted
from nephos_operator.context import Context, ensure_finalizer
from nephos_operator.quota import rule_count
from nephos_operator.reconcilers import in_use
from nephos_operator.references import active_project
from nephos_operator.security_groups import DEFAULT
from nephos_operator.statuses import ready, tell, told, write
from nephos_operator.verdict import Problem, Stalls, Waits


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the SecurityGroup to what it should be, or to its end."""
    group = context.store.security_groups.find(key)
    if group is None:
        return Done()
    if group.is_deleting:
        users = [port.key for port in context.store.ports.by("security_group", group.uid)]
        remedy = "take it out of their securityGroups, or delete the Servers or Ports first"
        return await in_use.release(group, None, users, context, remedy=remedy)
    if not await ensure_finalizer(group, context):
        return Done()
    problem = problem_of(group, context)
    status = SecurityGroupStatus(
        observed_generation=group.metadata.generation,
        remote_groups=remote_groups(group, context),
        rule_count=rule_count(group),
        conditions=told(group, problem, context) if problem else ready(group, context),
    )
    if problem:
        return await tell(group, problem, status, context)
    await write(group, status, context)
    return Done()


def remote_groups(group: SecurityGroup, context: Context) -> tuple[RemoteGroup, ...]:
    """Return the groups that the rules name and that exist, each once, by name."""
    names = sorted({rule.remote_group for rule in _rules(group) if rule.remote_group})
    found = (context.store.security_groups.get(name, group.metadata.namespace) for name in names)
    return tuple(RemoteGroup(name=remote.metadata.name, uid=remote.uid) for remote in found if remote is not None)


def problem_of(group: SecurityGroup, context: Context) -> Problem | None:
    """Return what the group waits for, or is one too many of; its rules hold all the same, as far as they can."""
    project = active_project(group.metadata.namespace, context.store)
    if isinstance(project, Waits | Stalls):
        return project
    if over := counted.problem(group, project, context.store):
        return over
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
