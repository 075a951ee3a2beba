"""Organized clouds in, labeled clouds out: fields, byte order, padding, and what is refused."""

import array
import struct
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from bisenet_ros.errors import ImageError
from bisenet_ros.ros.point_clouds import labeled_cloud, packed_colors, read_points

PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[7] = 128, 64, 32


def organized(*, big: bool = False, padding: int = 0, order: str = "xyz") -> PointCloud2:
    """3x2 points of 16 bytes; x, y and z of point n are n, n + 0.25 and n + 0.5."""
    form = ">" if big else "<"
    rows = [
        b"".join(
            struct.pack(f"{form}4f", *({"x": n, "y": n + 0.25, "z": n + 0.5}[a] for a in order), 9)
            for n in range(3 * row, 3 * row + 3)
        )
        + bytes(padding)
        for row in range(2)
    ]
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate([*order, "other"])
    ]
    return PointCloud2(
        width=3,
        height=2,
        point_step=16,
        row_step=48 + padding,
        is_bigendian=big,
        fields=fields,
        data=array.array("B", b"".join(rows)),
    )


@pytest.mark.parametrize("layout", [{}, {"big": True}, {"padding": 5}, {"order": "zyx"}], ids=str)
def test_points_are_read_in_every_layout(layout: dict[str, Any]) -> None:
    x, y, z = read_points(organized(**layout), 100)
    np.testing.assert_array_equal(x, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(y, x + 0.25)
    np.testing.assert_array_equal(z, x + 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 1, "width": 6}, "6x1 is not organized in rows and columns"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "has more than 100 points: publish a smaller"),
        ({"row_step": 47}, "row_step of 47 bytes, but its points take 48"),
        ({"row_step": 2**32 - 1}, "bytes of data, but has 96"),
        ({"data": array.array("B", bytes(95))}, "needs 96 bytes of data, but has 95"),
        ({"point_step": 0}, "field x at byte 0 of points of 0 bytes"),
        ({"fields": []}, r"has no field x of type float32 \(it has \[\]\): choose the topic of an"),
        (
            {"fields": [PointField(name="x", datatype=PointField.FLOAT64, count=1)]},
            r"has no field x of type float32 \(it has \['x'\]\)",
        ),
        (
            {"fields": [PointField(name="x", datatype=PointField.FLOAT32, count=2)]},
            "has no field x of type float32",
        ),
        (
            {"fields": [PointField(name="x", offset=2**32 - 1, datatype=7, count=1)]},
            "field x at byte 4294967295 of points of 16 bytes",
        ),
    ],
    ids=str,
)
def test_a_cloud_that_is_not_organized_is_refused(changes: dict[str, Any], reason: str) -> None:
    message = organized()
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=reason):
        read_points(message, 100)


def test_an_organized_cloud_has_the_fields_that_pcl_reads() -> None:
    labels = np.array([[7, 255, 0], [7, 7, 7]], np.uint8)
    confidence = np.array([[0, 51, 255], [0, 0, 0]], np.uint8)
    x, y, z = (np.full((2, 3), value, np.float32) for value in (1.5, -2.0, np.nan))
    header = Header(frame_id="depth")
    message = labeled_cloud(header, (x, y, z), labels, packed_colors(PALETTE), confidence)
    assert (message.header, message.height, message.width) == (header, 2, 3)
    assert (message.point_step, message.row_step) == (24, 72)
    assert not message.is_dense
    assert not message.is_bigendian
    found = [(field.name, field.offset, field.datatype, field.count) for field in message.fields]
    float32, uint32 = PointField.FLOAT32, PointField.UINT32
    assert found == [
        ("x", 0, float32, 1),
        ("y", 4, float32, 1),
        ("z", 8, float32, 1),
        ("rgb", 12, float32, 1),  # PCL wants the packed color as a float
        ("label", 16, uint32, 1),  # and PointXYZRGBL's label with 32 bits
        ("confidence", 20, float32, 1),
    ]
    points = list(struct.iter_unpack("<3f2If", message.data))
    assert [point[3:5] for point in points[:3]] == [(0x804020, 7), (0, 255), (0, 0)]
    assert [point[:2] for point in points] == [(1.5, -2.0)] * 6
    assert np.isnan([point[2] for point in points]).all()
    assert [point[5] for point in points[:3]] == pytest.approx([0.0, 0.2, 1.0])


def test_a_list_of_points_is_dense_and_without_confidence_lacks_the_field() -> None:
    places = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    labels = np.array([7, 0], np.uint8)
    points = places[:, 0], places[:, 1], 0.0
    message = labeled_cloud(Header(), points, labels, packed_colors(PALETTE))
    assert (message.height, message.width, message.point_step) == (1, 2, 20)
    assert message.is_dense
    assert message.fields[-1].name == "label"
    expected = [(1.0, 2.0, 0.0, 0x804020, 7), (3.0, 4.0, 0.0, 0, 0)]
    assert list(struct.iter_unpack("<3f2I", message.data)) == expected


def test_an_empty_list_of_points_is_a_valid_cloud() -> None:
    none = np.zeros(0, np.float32)
    message = labeled_cloud(Header(), (none, none, 0.0), np.zeros(0, np.uint8), none)
    assert (message.height, message.width, len(message.data)) == (1, 0, 0)
