"""One thread for all tests of training."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def on_one_thread(one_thread: None) -> None:
    """All of these tests are."""
