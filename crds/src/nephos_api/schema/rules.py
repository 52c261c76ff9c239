"""CEL rules, as data beside the field or the kind that they guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

RULES_KEY: Final = "x-kubernetes-validations"
IMMUTABLE_KEY: Final = "x-nephos-immutable"
"""In an intermediate schema: what an optional field is called that may be neither set nor removed later."""


@dataclass(frozen=True)
class Rule:
    """One ``x-kubernetes-validations`` entry.

    ``expression`` is CEL with ``self`` bound to the value (and ``oldSelf`` for transition rules);
    ``message`` is the sentence that the user reads; ``field_path`` names the field where ``self`` is an object.
    """

    expression: str
    message: str
    field_path: str | None = None
    reason: str = "FieldValueInvalid"
    immutable: str | None = None
    """The name of the field, where this is the rule of an immutable one."""

    def to_wire(self) -> dict[str, str]:
        """Return the entry as the API server takes it."""
        entry = {"rule": self.expression, "message": self.message, "reason": self.reason}
        return entry | ({"fieldPath": self.field_path} if self.field_path else {})

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Put the rule into the JSON schema of what it annotates."""
        schema: dict[str, Any] = handler(core_schema)
        schema[RULES_KEY] = [*schema.get(RULES_KEY, []), self.to_wire()]
        if self.immutable:
            schema[IMMUTABLE_KEY] = self.immutable
        return schema


def rule(expression: str, message: str, *, field_path: str | None = None, reason: str = "FieldValueInvalid") -> Rule:
    """Attach a CEL rule to a field: ``Annotated[str, rule(...)]``."""
    return Rule(expression, message, field_path, reason)


def immutable(what: str) -> Rule:
    """Return the rule that refuses a change of a field; ``what`` names the field.

    Where the field is optional, the schema also refuses setting or removing it later.
    """
    return Rule("self == oldSelf", f"{what} {_FIXED}", reason="FieldValueForbidden", immutable=what)


def fixed_once_set(what: str) -> Rule:
    """Return the rule of an optional field that may be set later, and then stays; ``what`` names the field."""
    return Rule("self == oldSelf", f"{what} {_FIXED}", reason="FieldValueForbidden")


def presence_rule(field: str, what: str) -> Rule:
    """Return the rule, on the object that has it, that an optional immutable field is neither set nor removed later."""
    return Rule(f"has(self.{field}) == has(oldSelf.{field})", f"{what} {_FIXED}", reason="FieldValueForbidden")


_FIXED: Final = "can't be changed after creation; delete the object and make a new one"
