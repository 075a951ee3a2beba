"""Tests of engines do not depend on which of them ran before."""

import sys

import pytest


@pytest.fixture(autouse=True)
def log_reasons_again() -> None:
    """A process logs each reason against an engine once."""
    selection = sys.modules.get("bisenet_ros.inference.selection")
    if selection is not None:
        selection.logged_reasons.clear()
