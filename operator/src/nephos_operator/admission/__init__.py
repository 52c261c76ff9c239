"""The webhook: what CEL can't see or compute is refused at apply, with a sentence; the operator checks again."""

from nephos_operator.admission.handlers import register

__all__ = ["register"]
