"""Read organized point clouds, and write labeled ones (sensor_msgs/PointCloud2)."""

import array

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from bisenet_ros.errors import ImageError, quoted

Floats = NDArray[np.float32]

_FIELDS = {
    "x": PointField.FLOAT32,
    "y": PointField.FLOAT32,
    "z": PointField.FLOAT32,
    "rgb": PointField.FLOAT32,
    "label": PointField.UINT32,
    "confidence": PointField.FLOAT32,
}
"""As PCL's PointXYZRGBL: rgb is 0x00RRGGBB in the bits of a float, label 32 bits wide. PCL ignores
fields of any other type."""

_REMEDY = "choose the topic of an organized point cloud, such as that of depth_image_proc"


def read_points(message: PointCloud2, max_points: int) -> tuple[Floats, Floats, Floats]:
    """Return x, y and z of an organized point cloud, views of its memory: float32 [H,W].

    Raises:
        ImageError: the message is not a valid cloud, is not organized, lacks a field, or has more
            than ``max_points`` points.
    """
    width, height = message.width, message.height
    name = f"point cloud of {width}x{height}"
    if height < 2 or width < 2:
        raise ImageError(f"{name} is not organized in rows and columns of an image: {_REMEDY}")
    if width * height > max_points:
        raise ImageError(
            f"{name} has more than {max_points} points: publish a smaller one, or raise "
            "'max_image_pixels'"
        )
    step, row_step = message.point_step, message.row_step
    if row_step < width * step:
        raise ImageError(
            f"{name} has a row_step of {row_step} bytes, but its points take {width * step}: its "
            "publisher must set row_step to the bytes from one row to the next"
        )
    needed = row_step * (height - 1) + width * step
    if len(message.data) < needed:
        raise ImageError(
            f"{name} needs {needed} bytes of data, but has {len(message.data)}: its publisher sent "
            "part of a cloud or a wrong size"
        )
    found = {field.name: field for field in message.fields}
    dtype = np.dtype(np.float32).newbyteorder(">" if message.is_bigendian else "<")

    def view(axis: str) -> Floats:
        field = found.get(axis)
        if field is None or field.datatype != PointField.FLOAT32 or field.count > 1:
            raise ImageError(
                f"{name} has no field {axis} of type float32 (it has {quoted(list(found))}): "
                f"{_REMEDY}"
            )
        if field.offset + dtype.itemsize > step:
            raise ImageError(
                f"{name} has field {axis} at byte {field.offset} of points of {step} bytes: its "
                "publisher must set point_step to the bytes from one point to the next"
            )
        return np.ndarray((height, width), dtype, message.data, field.offset, (row_step, step))

    return view("x"), view("y"), view("z")


def packed_colors(palette: NDArray[np.uint8]) -> Floats:
    """Return the field rgb of each label, float32 [256].

    Args:
        palette: uint8 [256,3] RGB, see ``classes.palette``.
    """
    red, green, blue = palette.T.astype(np.uint32)
    packed: Floats = (red << 16 | green << 8 | blue).view(np.float32)
    return packed


def labeled_cloud(
    header: Header,
    points: tuple[ArrayLike, ArrayLike, ArrayLike],
    labels: NDArray[np.uint8],
    colors: Floats,
    confidence: NDArray[np.uint8] | None = None,
) -> PointCloud2:
    """Return a cloud with the fields x, y, z, rgb, label and, where it is given, confidence.

    Args:
        header: stamp and frame of the points.
        points: x, y and z, each [H,W] for an organized cloud, where NaN marks invalid points, or
            [N] for one whose points are all valid, or one number for all of them.
        labels: of the same shape.
        colors: see ``packed_colors``.
        confidence: uint8 of the same shape, 0..255; the field is 0..1.
    """
    names = [name for name in _FIELDS if name != "confidence" or confidence is not None]
    step = 4 * len(names)
    # Filled in place, since copying a cloud of 640x480 takes as long as computing it.
    data = array.array("B", bytes(labels.size * step))
    values = np.frombuffer(data, np.float32).reshape(*labels.shape, len(names))
    for index, axis in enumerate(points):
        values[..., index] = axis
    values[..., 3] = colors[labels]
    values.view(np.uint32)[..., 4] = labels
    if confidence is not None:
        np.multiply(confidence, np.float32(1 / 255), out=values[..., 5])
    return PointCloud2(
        header=header,
        height=labels.shape[0] if labels.ndim == 2 else 1,
        width=labels.shape[-1],
        fields=[
            PointField(name=name, offset=4 * index, datatype=_FIELDS[name], count=1)
            for index, name in enumerate(names)
        ],
        is_bigendian=False,
        point_step=step,
        row_step=labels.shape[-1] * step,
        data=data,
        is_dense=labels.ndim == 1,
    )
