"""The finding of one of ``bisenet doctor``'s checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is well, what was found, and else what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    @staticmethod
    def failed(name: str, text: str) -> "Check":
        """From what errors and reasons say here: the fault, a colon, and what to do."""
        fault, _, remedy = text.partition(": ")
        return Check(name, ok=False, detail=fault, remedy=remedy)
