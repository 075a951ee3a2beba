"""Messages that describe the classes of a model."""

from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA, Header

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.model.file import Model
from bisenet_ros.msg import ClassInfo, ClassMap


def class_map(model: Model, stamp: Time) -> ClassMap:
    """Return ids, names and colors of the classes of ``model``."""
    return ClassMap(
        header=Header(stamp=stamp),
        model=model.name,
        ignore_id=IGNORE_ID,
        classes=[
            ClassInfo(
                id=entry.id,
                name=entry.name,
                color=ColorRGBA(
                    r=entry.color[0] / 255, g=entry.color[1] / 255, b=entry.color[2] / 255, a=1.0
                ),
            )
            for entry in model.metadata.classes
        ],
    )


def label_info_type() -> Any | None:
    """Return the message vision_msgs/LabelInfo, or None where vision_msgs is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        return None
    return LabelInfo


def label_info(model: Model, stamp: Time, threshold: float) -> Any:
    """Return ids and names as vision_msgs/LabelInfo.

    Args:
        model: has the classes.
        stamp: for the header.
        threshold: the confidence threshold, 0..1.

    Raises:
        ImportError: vision_msgs is not installed.
    """
    from vision_msgs.msg import LabelInfo, VisionClass

    return LabelInfo(
        header=Header(stamp=stamp),
        class_map=[
            VisionClass(class_id=entry.id, class_name=entry.name)
            for entry in model.metadata.classes
        ],
        threshold=threshold,
    )
