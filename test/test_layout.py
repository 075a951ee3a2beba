"""How ``test/`` itself is laid out."""

from collections import Counter
from pathlib import Path

TEST = Path(__file__).parent


def test_no_two_modules_have_one_name() -> None:
    """pytest imports each by its base name, as no folder is a package."""
    names = Counter(path.name for path in TEST.rglob("*.py"))
    del names["conftest.py"]  # which pytest itself keeps apart
    assert [name for name, count in names.items() if count > 1] == []
    assert names["test_layout.py"] == names["busy.py"] == 1
