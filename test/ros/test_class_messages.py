"""What the label values mean, as messages."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from bisenet_ros.model import file as model_file
from bisenet_ros.ros import class_messages


@dataclass
class VisionClass:
    """The fields of vision_msgs/VisionClass (4.1.1)."""

    class_id: int
    class_name: str


@dataclass
class LabelInfo:
    """The fields of vision_msgs/LabelInfo (4.1.1)."""

    header: Header
    class_map: list[VisionClass] = field(default_factory=list)
    threshold: float = 0.0


@pytest.fixture
def vision_msgs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not on PyPI: where ROS is not installed, its messages' fields stand in for them."""
    if class_messages.label_info_type() is not None:
        return
    messages = ModuleType("vision_msgs.msg")
    vars(messages).update(VisionClass=VisionClass, LabelInfo=LabelInfo)
    monkeypatch.setitem(sys.modules, "vision_msgs", ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)


@pytest.mark.usefixtures("vision_msgs")
def test_label_info(tiny_model: Path) -> None:
    model = model_file.load(tiny_model)
    message = class_messages.label_info(model, Time(sec=3), 0.25)
    assert isinstance(message, class_messages.label_info_type())
    assert message.header.stamp == Time(sec=3)
    assert message.threshold == 0.25
    assert [(each.class_id, each.class_name) for each in message.class_map] == [
        (entry.id, entry.name) for entry in model.metadata.classes
    ]


def test_without_vision_msgs_there_is_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vision_msgs", None)
    assert class_messages.label_info_type() is None
