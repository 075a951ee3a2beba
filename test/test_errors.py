"""Error hierarchy, quoting of values, and translation of library errors."""

import ast
import inspect
import os
from pathlib import Path

import pytest

from bisenet_ros import errors
from bisenet_ros.errors import (
    MAX_MESSAGE,
    MAX_VALUE,
    InferenceError,
    UserError,
    describe,
    describe_bug,
    engine_errors,
    quoted,
    write_errors,
)

SOURCES = Path(__file__).parents[1] / "bisenet_ros"


def test_all_errors_are_user_errors_in_one_module() -> None:
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    ours = [value for value in classes if value.__module__ == errors.__name__]
    assert len(ours) > 15
    assert all(issubclass(value, UserError) for value in ours)
    elsewhere = [
        (path.name, node.name)
        for path in SOURCES.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    ]
    assert elsewhere == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("int7", "'int7'"),
        ("a\x1b[2Jb\n", r"'a\x1b[2Jb\n'"),
        (1.5, "1.5"),
        ([1, "a"], "[1, 'a']"),
        ({"a": None}, "{'a': None}"),
    ],
)
def test_quoted_values_escape_control_characters(value: object, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**7,
        10**3000,
        [10**5000],
        list(range(10**6)),
        {n: "y" * 300 for n in range(1000)},
        [[[["z" * 999]]]],
    ],
    ids=["text", "number", "huge number", "list", "dict", "nested"],
)
def test_quoted_values_are_shortened(value: object) -> None:
    assert 1 < len(quoted(value)) <= MAX_VALUE


def test_messages_are_shortened_and_keep_their_lines() -> None:
    assert describe(UserError("one\ntwo\x07\udcff")) == "one\ntwo\\x07\\udcff"
    long = describe(OSError(36, "File name too long", "a" * 10**6))
    assert len(long) == MAX_MESSAGE
    assert long.startswith("[Errno 36] File name too long: 'aaa")
    assert long.endswith("a…")


@pytest.mark.parametrize(
    ("engine", "device", "error", "message"),
    [
        (
            "torch",
            "cpu",
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            r"^torch failed on cpu \(Default.* tried\); if memory ran out, .*the resolution$",
        ),
        ("torch", "cpu", MemoryError(), r"^torch failed on cpu \(MemoryError\)"),
        (
            "torch",
            "cuda:0",
            RuntimeError("no kernel image is available\nand more"),
            r"cuda:0 \(no kernel image is available\); .* torch supports cuda:0's driver$",
        ),
        (
            "openvino",
            "gpu",
            RuntimeError("Exception from src/a.cpp:1:\nCheck failed\nout of resources"),
            r"openvino failed on gpu \(out of resources\); .* openvino supports gpu's driver$",
        ),
    ],
)
def test_out_of_memory_and_driver_errors_become_inference_errors(
    engine: str, device: str, error: Exception, message: str
) -> None:
    with pytest.raises(InferenceError, match=message), engine_errors(engine, device):
        raise error


def test_other_library_errors_are_not_translated() -> None:
    with pytest.raises(RuntimeError, match="shapes"), engine_errors("torch", "cpu"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_tracebacks_are_shortened_and_keep_location_and_exception() -> None:
    def fail(text: str) -> str:
        try:
            raise KeyError(text)
        except KeyError as error:
            return describe_bug(error)

    assert fail("a").startswith("Traceback (most recent call last):\n")
    assert fail("a").endswith("KeyError: 'a'\n")
    long = fail("\x1b" + "x" * 10**6 + "end")
    assert len(long) <= MAX_MESSAGE
    assert "in fail" in long
    assert long.endswith("end'\n")
    assert "\x1b" not in long


def test_errors_of_writing_name_the_file() -> None:
    full = Path("/dev/full")
    text = r"^cannot write /dev/full: No space left on device$"
    with pytest.raises(OSError, match=text), write_errors(full):
        full.write_text("x")
    with pytest.raises(OSError, match=text), write_errors(Path("other")), write_errors(full):
        full.write_text("x")
    with pytest.raises(FileNotFoundError, match="'none'"), write_errors(full):
        Path("none").read_text()


def test_a_reader_that_is_gone_is_no_error_of_the_file() -> None:
    """``bisenet info --json /dev/stdout | head -1`` ends without a message."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError), write_errors(Path("/dev/stdout")):
            os.write(writer, b"x")
    finally:
        os.close(writer)
