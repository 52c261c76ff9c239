"""CEL rules, as data beside the field or the kind that they guard."""

from __future__ import annotations

from dataclasses import dataclass


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

    def to_wire(self) -> dict[str, str]:
        """Return the entry as the API server takes it."""
        entry = {"rule": self.expression, "message": self.message, "reason": self.reason}
        return entry | ({"fieldPath": self.field_path} if self.field_path else {})


def rule(expression: str, message: str, *, field_path: str | None = None) -> Rule:
    """Attach a CEL rule to a field: ``Annotated[str, rule(...)]``."""
    return Rule(expression, message, field_path)


def immutable(what: str) -> Rule:
    """Return the rule that refuses a change of a field once it is set; ``what`` names the field."""
    return Rule("self == oldSelf", f"{what} can't be changed after creation; delete the object and make a new one")
