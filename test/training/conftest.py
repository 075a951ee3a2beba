"""Run the training tests on one thread."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def on_one_thread(one_thread: None) -> None:
    """Apply ``one_thread`` to every module."""
