"""Documents of unknown origin are read within bounds, or refused in one sentence."""

import os
import threading
from pathlib import Path

import pytest

from bisenet_ros.documents import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_JSON_DEPTH,
    parse_json,
    parse_yaml,
    read_text,
)
from bisenet_ros.errors import DocumentError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)
"""485 bytes that expand to 9^9 elements."""


def test_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff0 straße\n".encode())
    assert read_text(tmp_path / "a.txt") == "0 straße\n"
    (tmp_path / "large.txt").write_bytes(b"a" * MAX_BYTES)
    assert read_text(str(tmp_path / "large.txt")) == "a" * MAX_BYTES


def test_what_is_no_small_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(b"a" * (MAX_BYTES + 1))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xfa")
    os.mkfifo(tmp_path / "fifo")
    for path, reason in (
        (tmp_path / "large.txt", "is larger than 128 KiB"),
        (tmp_path / "binary.txt", "is not UTF-8 text"),
        (tmp_path / "fifo", "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path, "cannot read|is not a regular file"),
        (tmp_path / "missing.txt", "cannot read .*missing.txt: No such file"),
    ):
        with pytest.raises(DocumentError, match=reason):
            read_text(path)


def test_a_fifo_with_a_writer_is_refused_all_the_same(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_text("a"), daemon=True)
    writer.start()
    with pytest.raises(DocumentError, match="is not a regular file"):
        read_text(tmp_path / "fifo")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("classes:\n- {id: 0, name: sky}\n", {"classes": [{"id": 0, "name": "sky"}]}),
        ("a: 1.5\nb: [true, null, 'x']\n", {"a": 1.5, "b": [True, None, "x"]}),
        ("", None),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, eval("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
    ],
)
def test_yaml(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "line 2 has an alias"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "line 2 has an alias"),
        ("[" * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH} levels"),
        ("[" * 10000, f"nested deeper than {MAX_DEPTH} levels"),
        ("a: " * 3 + "b", "mapping values are not allowed"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 2026-99-99", "month must be"),
        (f"a: {'9' * 5000}", "line 1 has a number of 5000 characters"),
        (f"a: 1{':59' * 40000}", "line 1 has a number of 120001 characters"),
        (f"[{'a,' * 60000}]", "it has more than 10000 values"),
        ("!!bool 7", "it has a value that its tag does not fit"),
        ("!!timestamp x", "it has a value that its tag does not fit"),
        ("a: \x00", "special characters are not allowed"),
        ("a: {b: 1,\n b: 2}", "line 2 has 'b' a second time"),
        ("!!map [a]", "expected a mapping node"),
        ("!!set ab", "expected a mapping node"),
    ],
    ids=range(16),
)
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON: Expecting"),
        ("[" * 10**5, f"nested deeper than {MAX_JSON_DEPTH} levels"),
        ('{"a": [' * 50 + "{}" + "]}" * 50, f"nested deeper than {MAX_JSON_DEPTH} levels"),
        ("1" * 5000, "Exceeds"),
        ('[{"a": [1], "b": 2, "a": []}]', "has 'a' twice in one object"),
    ],
    ids=range(5),
)
def test_json_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_json(text)


def test_json() -> None:
    assert parse_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    deepest = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH
    assert str(parse_json(deepest)) == deepest
