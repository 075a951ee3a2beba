"""What a camera's description becomes for its images at another size."""

import copy

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


def scale_camera_info(info: CameraInfo, width: int, height: int, header: Header) -> CameraInfo:
    """``info`` for the same picture at ``width`` x ``height`` pixels, under ``header``.

    The picture that ``info`` describes is its region of interest (all of it by default) after
    binning, see sensor_msgs/CameraInfo; its size alone counts, so that images resized on their way
    get the right matrices, too. Pixel 0 reaches from -1/2 to 1/2, as in OpenCV: a principal point
    c becomes (c + 1/2) s - 1/2. Distortion, which is of normalized coordinates, stays.
    """
    result = copy.deepcopy(info)
    result.header = header
    x = _factor(width, info.roi.width or info.width, info.binning_x)
    y = _factor(height, info.roi.height or info.height, info.binning_y)
    result.width, result.height = round(info.width * x), round(info.height * y)
    roi = result.roi
    roi.x_offset, roi.width = round(roi.x_offset * x), round(roi.width * x)
    roi.y_offset, roi.height = round(roi.y_offset * y), round(roi.height * y)
    # Both matrices are zero in what an uncalibrated camera says.
    for matrix, columns in ((result.k, 3), (result.p, 4)):
        for row, factor in enumerate((x, y)):
            cells = slice(row * columns, (row + 1) * columns)
            if matrix[row * columns + row]:
                values = [value * factor for value in matrix[cells]]
                values[2] += (factor - 1) / 2
                matrix[cells] = values
    return result


def _factor(side: int, described: int, binning: int) -> float:
    return side * max(1, binning) / described if described else 1.0
