"""The finding of one of ``bisenet doctor``'s checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is well, what was found, and what to do.

    ``remedy`` is empty where all is well, or where ``detail`` says it, too.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
