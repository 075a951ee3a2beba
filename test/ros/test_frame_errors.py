"""Why frames are lost: one line a kind of error, then a count a minute, whatever senders write."""

import pytest

pytest.importorskip("rclpy")

from fake_clock import FakeClock
from sensor_msgs.msg import CompressedImage, Image

from bisenet_ros.errors import MAX_MESSAGE, ImageError
from bisenet_ros.ros.frame_errors import SUMMARY_PERIOD_S, FrameErrorLog
from bisenet_ros.ros.image_messages import ImageDecoder, decode_compressed


class Lines(list[str]):
    """A logger that keeps its lines."""

    def error(self, message: str, /) -> None:
        self.append(message)


class Probe:
    """A log on a clock of the test's own, and images that lose frames."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lines = Lines()
        self.log = FrameErrorLog(self.lines, self.clock)

    def lose(self, message: Image | CompressedImage) -> None:
        try:
            if isinstance(message, Image):
                ImageDecoder().to_rgb(message)
            else:
                decode_compressed(message)
        except ImageError as error:
            self.log.frame_lost(error)


@pytest.fixture
def probe() -> Probe:
    return Probe()


def test_text_of_the_sender_makes_no_line_of_its_own(probe: Probe) -> None:
    for number in range(1000):
        name = "".join(chr(97 + (number // 26**at) % 26) for at in range(3))
        probe.lose(Image(encoding=f"{name}\n[ERROR] 'it\\'s"))
        probe.lose(CompressedImage(format=f"{name}'", data=name.encode()))
        probe.lose(CompressedImage(format=name, data=b"\x89PNG" + name.encode()))
        probe.log.summarize()
    unsupported, unknown, damaged = probe.lines
    assert unsupported.startswith(r"""frame lost: image encoding "aaa\n[ERROR] 'it""")
    assert "no picture in a known format" in unknown
    assert "damaged or cut off" in damaged
    probe.clock.now += SUMMARY_PERIOD_S
    probe.log.summarize()
    probe.log.summarize()
    assert len(probe.lines) == 6
    assert probe.lines[3].startswith('999 more in 60 s, the last frame lost: image encoding "lmb')
    assert all("\n" not in line for line in probe.lines)


def test_a_kind_that_does_not_come_again_gets_no_more_lines(probe: Probe) -> None:
    probe.lose(Image(encoding="32FC1"))
    probe.clock.now += 2 * SUMMARY_PERIOD_S
    probe.log.summarize()
    assert len(probe.lines) == 1
    probe.lose(Image(encoding="32FC1"))
    probe.log.summarize()
    assert probe.lines[1].startswith("1 more in 120 s, the last frame lost: image encoding '32FC1'")


def test_each_remedy_is_a_kind(probe: Probe) -> None:
    for encoding in ("32FC1", "8UC3", "h264", "rgb8"):
        probe.lose(Image(encoding=encoding))
    assert len(probe.lines) == 4


@pytest.mark.parametrize("error", [ImageError("x" * 10**6), ValueError("x" * 10**6)], ids=type)
def test_messages_are_bounded(probe: Probe, error: Exception) -> None:
    probe.log.frame_lost(error)
    assert max(len(probe.lines[0]), len(probe.log.take_latest())) < MAX_MESSAGE + 50
    assert probe.log.take_latest() == ""
