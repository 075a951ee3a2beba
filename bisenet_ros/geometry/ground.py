"""Labels on flat ground: what a camera sees of it, from its pose alone.

The ground is the plane z = 0 of the robot's frame. A pixel of a ground class is on it, where its
ray meets the plane. So is the lowest visible part of everything else, if that stands on the ground;
its upper parts, and all that is behind it as seen from the camera, cannot be located.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.errors import CameraError
from bisenet_ros.geometry.camera import Camera, Floats
from bisenet_ros.geometry.pose import Pose

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
"""Values of a cell, as in nav_msgs/OccupancyGrid."""

SECTOR_PX = 2.0
"""Width of a sector [px at the image's center]: wide enough to have pixels of every row there."""

MAX_SECTORS = 65536

BAND_CELLS = 2**18
"""Cells that are located at once."""


@dataclass(frozen=True)
class GroundArea:
    """The square around the robot that is looked at.

    - ``max_range``: half of its side [m]; pixels farther from the robot's origin are ignored.
    - ``resolution``: side of a cell [m].
    """

    max_range: float
    resolution: float

    @property
    def cells(self) -> int:
        """Cells a side."""
        return 2 * max(1, round(self.max_range / self.resolution))

    @property
    def origin(self) -> float:
        """x and y of the corner of cell (0, 0) [m]."""
        return -self.cells / 2 * self.resolution


@dataclass(frozen=True)
class GroundView:
    """What one label image shows of the ground.

    - ``grid``: int8 [N,N] of ``UNKNOWN``, ``FREE``, ``OCCUPIED``; rows are y, columns x.
    - ``free``: float32 [K,2], x and y of the center of each free cell [m].
    - ``free_pixels``: [K], index of the pixel at each, in the flattened image.
    - ``obstacles``: float32 [M,2], x and y of the foot of each obstacle, one a sector [m].
    - ``obstacle_pixels``: [M], as ``free_pixels``.
    """

    grid: NDArray[np.int8]
    free: NDArray[np.float32]
    free_pixels: NDArray[np.intp]
    obstacles: NDArray[np.float32]
    obstacle_pixels: NDArray[np.intp]


class GroundProjection:
    """Locates the labels of one camera in one pose; all that does not depend on labels is kept.

    Free cells are looked up in the image, so that they have no gaps where a pixel is larger than a
    cell; obstacles are located from their pixels, so that none falls between the cells' centers.
    What hides what is decided in sectors around the camera, which for an upright camera are
    columns of the image.

    Args:
        camera: of the label images.
        rays: of its pixels, see ``Camera.pixel_rays``.
        pose: of its optical frame in the robot's.
        area: that is looked at.

    Raises:
        CameraError: the camera is not above the ground, or sees none of the area.
    """

    def __init__(
        self, camera: Camera, rays: NDArray[np.float32], pose: Pose, area: GroundArea
    ) -> None:
        if pose.position[2] <= 0:
            raise CameraError(
                f"the camera is at a height of {pose.position[2]:g} m, not above the ground: the "
                "plane z = 0 of 'robot_frame' must be the ground, so set that to base_footprint "
                "or the like, or set 'camera_pose.z' to the camera's height"
            )
        self._area = area
        place = _ground_points(rays.reshape(-1, 2), pose)
        self._pixels = np.flatnonzero(np.hypot(place[:, 0], place[:, 1]) <= area.max_range)
        if not self._pixels.size:
            raise CameraError(
                f"the camera sees no ground within 'ground.max_range', {area.max_range:g} m: "
                "check its pose, where a positive pitch looks down, or increase the range"
            )
        self._size = camera.height, camera.width
        self._sector_width = max(SECTOR_PX / camera.focal[0], 2 * np.pi / MAX_SECTORS)
        self._places = place[self._pixels]
        self._distances, self._sectors = self._polar(self._places, pose)
        self._find_cells(camera, rays, pose)

    def view(self, labels: NDArray[np.uint8], is_ground: NDArray[np.bool_]) -> GroundView:
        """Locate ``labels``.

        Args:
            labels: uint8 [H,W] of the camera's size. ``IGNORE_ID`` is neither free nor occupied
                and hides nothing.
            is_ground: [256] by label.

        Raises:
            ValueError: ``labels`` has another size.
        """
        if labels.shape != self._size:
            raise ValueError(f"labels are {labels.shape}; those of this camera are {self._size}")
        kind = np.where(is_ground, np.uint8(FREE), np.uint8(OCCUPIED))
        kind[IGNORE_ID] = 1  # neither
        kinds = kind[labels.reshape(-1)]
        obstacle = np.flatnonzero(kinds[self._pixels] == OCCUPIED)
        sectors, distances = self._sectors[obstacle], self._distances[obstacle]
        nearest = np.full(int(2 * np.pi / self._sector_width) + 1, np.inf)
        np.minimum.at(nearest, sectors, distances)
        # The foot of what is nearest in its sector; one pixel where several are as near.
        feet = np.flatnonzero(distances == nearest[sectors])
        feet = obstacle[feet[np.unique(sectors[feet], return_index=True)[1]]]
        is_free = (kinds[self._cell_pixels] == FREE) & (
            self._cell_distances < nearest[self._cell_sectors]
        )

        side, resolution, origin = self._area.cells, self._area.resolution, self._area.origin
        grid = np.full((side, side), UNKNOWN, np.int8)
        grid.reshape(-1)[self._cells[is_free]] = FREE
        obstacles = self._places[feet]
        columns, rows = np.floor((obstacles - origin) / resolution).astype(np.intp).T
        np.clip(columns, 0, side - 1, out=columns)
        np.clip(rows, 0, side - 1, out=rows)
        grid[rows, columns] = OCCUPIED
        return GroundView(
            grid,
            self._cell_places[is_free],
            self._cell_pixels[is_free],
            obstacles.astype(np.float32),
            self._pixels[feet],
        )

    def _find_cells(self, camera: Camera, rays: NDArray[np.float32], pose: Pose) -> None:
        """Find the pixel that sees the center of each cell."""
        side, resolution = self._area.cells, self._area.resolution
        centers = self._area.origin + (np.arange(side) + 0.5) * resolution
        # In bands: the points of a large grid take a hundred times its memory.
        bands = [
            self._seen_places(
                np.stack(np.meshgrid(centers, some), axis=-1).reshape(-1, 2), camera, rays, pose
            )
            for some in np.array_split(centers, -(-side * side // BAND_CELLS))
        ]
        place, self._cell_pixels = (np.concatenate(parts) for parts in zip(*bands, strict=True))
        columns, rows = np.floor((place - self._area.origin) / resolution).astype(np.intp).T
        self._cells = rows * side + columns
        self._cell_places = place.astype(np.float32)
        self._cell_distances, self._cell_sectors = self._polar(place, pose)

    def _seen_places(
        self, place: Floats, camera: Camera, rays: NDArray[np.float32], pose: Pose
    ) -> tuple[Floats, NDArray[np.intp]]:
        """Return which of the places [N,2] are seen, [M,2], and the pixel that sees each, [M]."""
        place = place[np.hypot(place[:, 0], place[:, 1]) <= self._area.max_range]
        points = _in_optical_frame(place, pose)
        pixels = np.rint(camera.project(points))
        inside = (
            (pixels >= 0).all(axis=1)  # NaN is not
            & (pixels[:, 0] < camera.width)
            & (pixels[:, 1] < camera.height)
        )
        place, points = place[inside], points[inside]
        columns, rows = pixels[inside].astype(np.intp).T
        # Far outside its field of view a lens model may lead back into the image. The tolerance is
        # a pixel of a lens whose pixels have equal angles, the widest of all.
        error = np.abs(rays[rows, columns] - points[:, :2] / points[:, 2:]) * camera.focal
        scale = 1 + np.square(rays[rows, columns]).sum(axis=1, keepdims=True)
        seen = (error < scale).all(axis=1)
        return place[seen], (rows * camera.width + columns)[seen]

    def _polar(self, places: Floats, pose: Pose) -> tuple[Floats, NDArray[np.intp]]:
        """Return distance and sector of places [N,2] from the point below the camera."""
        x, y = (places - pose.position[:2]).T
        return np.hypot(x, y), ((np.arctan2(y, x) + np.pi) / self._sector_width).astype(np.intp)


def _ground_points(rays: NDArray[np.float32], pose: Pose) -> Floats:
    """Return where rays [N,2] meet the ground, [N,2]; NaN where they do not."""
    x, y = rays.T.astype(np.float64)
    # Column by column: a matrix product of three columns takes BLAS ten times as long.
    forward, left, up = (a * x + b * y + c for a, b, c in pose.rotation)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(up < 0, -pose.position[2] / up, np.nan)
    places = np.empty((len(rays), 2))
    places[:, 0] = pose.position[0] + forward * factor
    places[:, 1] = pose.position[1] + left * factor
    return places


def _in_optical_frame(places: Floats, pose: Pose) -> Floats:
    """Return points of the ground [N,2] in the camera's frame, [N,3]."""
    x, y = (places - pose.position[:2]).T
    height = pose.position[2]
    points = np.empty((len(places), 3))
    for axis, (a, b, c) in enumerate(zip(*pose.rotation, strict=True)):  # the inverse rotation
        points[:, axis] = a * x + b * y - c * height
    return points
