"""Polygons in world coordinates, as points (x, y, z) in meters."""

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Points = list[Point]
Array = NDArray[np.float64]


def wall(x: float, bottom: float, top: float, near: float, far: float) -> Points:
    """Return a vertical rectangle along the street, from depth ``near`` to ``far``."""
    return [(x, bottom, near), (x, top, near), (x, top, far), (x, bottom, far)]


def front(x: float, y: float, z: float, width: float, height: float) -> Points:
    """Return a vertical rectangle around (x, y) that faces the camera."""
    w, h = width / 2, height / 2
    return [(x - w, y - h, z), (x + w, y - h, z), (x + w, y + h, z), (x - w, y + h, z)]


def strip(left: float, right: float, near: float, far: float, y: float = 0.0) -> Points:
    """Return a horizontal rectangle at height y."""
    return [(left, y, near), (right, y, near), (right, y, far), (left, y, far)]


def trapezium(x: float, low: Point, high: Point) -> Points:
    """Return a trapezium symmetric about x; each edge is (half its width, y, z)."""
    (a, ya, za), (b, yb, zb) = low, high
    return [(x - a, ya, za), (x + a, ya, za), (x + b, yb, zb), (x - b, yb, zb)]


def wheel(x: float, hub: float, radius: float) -> Points:
    """Return a 12-gon along the street around depth ``hub``, at the height of a car's axle."""
    turn = [k * pi / 6 for k in range(12)]
    return [(x, 0.33 + radius * sin(a), hub + radius * cos(a)) for a in turn]


def panes(x: float, bottom: Array, z: Array, half: float, height: float) -> Array:
    """Return vertical rectangles along the street, for window panes and fence boards.

    Args:
        x: of all rectangles.
        bottom: height of the lower edges, [N].
        z: depth of the centers, [N].
        half: half the length along the street.
        height: height of the rectangles.

    Returns:
        Corners, float64 [N,4,3].
    """
    panes = np.empty((len(z), 4, 3))
    panes[..., 0] = x
    panes[..., 1] = bottom[:, None] + np.array((0, height, height, 0))
    panes[..., 2] = z[:, None] + np.array((-half, -half, half, half))
    return panes
