"""What the label values mean, as messages."""

from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA, Header

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.model.file import Model
from bisenet_ros.msg import ClassInfo, ClassMap


def class_map(model: Model, stamp: Time) -> ClassMap:
    """Return ids, names and colors of the model's classes."""
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
    """Return ids and names for users of vision_msgs.

    Args:
        model: has the classes.
        stamp: of the header.
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
