"""nav_msgs/OccupancyGrid of what is seen of the ground."""

import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from bisenet_ros.geometry.ground import GroundArea


def occupancy_grid_type() -> Any | None:
    """Return the message nav_msgs/OccupancyGrid, or None where nav_msgs is not installed."""
    try:
        from nav_msgs.msg import OccupancyGrid
    except ImportError:
        return None
    return OccupancyGrid


def occupancy_grid(header: Header, grid: NDArray[np.int8], area: GroundArea) -> Any:
    """Return ``grid`` as a message.

    Args:
        header: stamp of the labels, and the robot's frame.
        grid: int8 [N,N] of -1, 0 and 100; rows are y, columns x.
        area: place and size of its cells.

    Raises:
        ImportError: nav_msgs is not installed.
    """
    from nav_msgs.msg import OccupancyGrid

    message = OccupancyGrid(header=header)
    message.info.map_load_time = header.stamp
    message.info.resolution = area.resolution
    message.info.height, message.info.width = grid.shape
    message.info.origin.position.x = message.info.origin.position.y = area.origin
    message.data = array.array("b", grid.tobytes())
    return message
