"""Run a command that is expected to fail with one sentence."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from bisenet_ros.cli.main import main


class Refusal(NamedTuple):
    """Exit status, and the message on stderr without the command's name."""

    status: int
    message: str


def refusal(line: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a failing command; check that it prints one line, and the usage only with status 2."""
    capsys.readouterr()
    try:
        status: object = main(line)
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    assert captured.out == ""
    *usage, last = captured.err.splitlines()
    command = rf"bisenet {re.escape(line[0])}(?: [a-z]+)?"
    pattern = rf"{command}: error: (.+)" if status == 2 else rf"{command}: (.+)"
    match = re.fullmatch(pattern, last)
    assert match is not None, last
    if status == 2:
        assert usage[0].startswith(f"usage: bisenet {line[0]} ")
    else:
        assert usage == []
    assert isinstance(status, int)
    return Refusal(status, match[1])
