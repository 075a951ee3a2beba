"""Pictures are split by sequence."""

from pathlib import PurePosixPath

import pytest

from bisenet_ros.datasets.importers.sequences import sequence_of, validation_part


@pytest.mark.parametrize(
    ("name", "sequence", "number"),
    [
        ("drive1/000123.png", "drive1/*", 123),
        ("0016E5_07959.png", "./0016E5_*", 7959),
        ("aachen_000000_000019_leftImg8bit.png", "./aachen_000000_*_leftImg8bit", 19),
        ("frame-12_jpg.rf.0a1b2c.jpg", "./frame-*", 12),
        ("frame-12_png.rf.DEADbeef.jpg", "./frame-*", 12),
        ("a/b/still.jpg", "a/b/still", 0),
        ("cam/1623000000.25.png", "cam/*", 1623000000.25),
        ("frame12b.jpg", "./frame*b", 12),
    ],
)
def test_names(name: str, sequence: str, number: float) -> None:
    assert sequence_of(PurePosixPath(name)) == (sequence, number)


def chosen(names: list[str], share: float) -> tuple[list[str], str]:
    paths = [PurePosixPath(name) for name in names]
    positions, note = validation_part(paths, share)
    return sorted(names[position] for position in positions), note


def frames(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}.png" for number in range(count)]


def test_whole_sequences_by_name_or_folder() -> None:
    for separator in ("_", "/"):
        # drive10 comes after drive9, and frame 10 after frame 9.
        names = [n for k in range(1, 11) for n in frames(f"drive{k}{separator}", 12)]
        val, note = chosen(names[::-1], 0.2)
        assert val == sorted(frames(f"drive9{separator}", 12) + frames(f"drive10{separator}", 12))
        assert note == "val is the last 2 of 10 sequences, 24 images"


def test_one_sequence_is_cut_once() -> None:
    val, note = chosen(frames("frame_", 50), 0.2)
    assert val == [f"frame_{number}.png" for number in range(40, 50)]
    assert note.startswith("val is the last 10 images, from frame_40.png on: there is no bound")
    assert "better validate on another drive" in note


def test_a_sequence_that_is_much_too_long_is_cut() -> None:
    val, note = chosen(frames("a_", 10) + frames("b_", 90), 0.1)
    assert val == [f"b_{number}.png" for number in range(80, 90)]
    assert "(of 2)" in note


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.99, 1)])
def test_neither_part_is_empty(share: float, count: int) -> None:
    assert len(chosen(["a_1.png", "a_2.png"], share)[0]) == count
