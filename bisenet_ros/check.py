"""Result of one check of ``bisenet doctor``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Name of a check, whether it passed, what was found, and how to fix it.

    ``remedy`` is empty if the check passed or ``detail`` already includes it.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
