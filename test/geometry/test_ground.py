"""Labels on the ground, against places computed by hand."""

import math
import tracemalloc

import numpy as np
import pytest

from bisenet_ros.errors import CameraError
from bisenet_ros.geometry.camera import Camera
from bisenet_ros.geometry.ground import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    GroundArea,
    GroundProjection,
    GroundView,
)
from bisenet_ros.geometry.pose import Pose, pose_from_angles, pose_from_quaternion

SKY, ROAD, CAR, NONE = 0, 1, 2, 255
IS_GROUND = np.arange(256) == ROAD
CAMERA = Camera(201, 101, (100.0, 100.0), (100.0, 0.0))
"""Its first row is the horizon; row v of a level camera at height 1 sees the ground 100 / v ahead,
column u there 1 / v to the right for each pixel from column 100."""
LEVEL = pose_from_angles((0.0, 0.0, 1.0), 0.0, 0.0, 0.0)
AREA = GroundArea(max_range=10.0, resolution=0.5)


def projection(pose: Pose = LEVEL, camera: Camera = CAMERA) -> GroundProjection:
    return GroundProjection(camera, camera.pixel_rays(), pose, AREA)


def road() -> np.ndarray:
    labels = np.full((CAMERA.height, CAMERA.width), ROAD, np.uint8)
    labels[0] = SKY
    return labels


def cell(view: GroundView, x: float, y: float) -> int:
    return int(view.grid[math.floor((y + 10) / 0.5), math.floor((x + 10) / 0.5)])


def test_all_road_is_free_where_it_is_seen() -> None:
    view = projection().view(road(), IS_GROUND)
    assert view.grid.shape == (40, 40)
    assert view.grid.dtype == np.int8
    assert cell(view, 5.1, 0.1) == cell(view, 5.1, 4.9) == cell(view, 1.1, -0.1) == FREE
    # Row 100, the last one, sees 1 m ahead; column 200 one meter to the right of each meter ahead.
    assert cell(view, 0.6, 0.1) == cell(view, -5.0, 0.1) == cell(view, 2.1, 4.1) == UNKNOWN
    assert cell(view, 9.6, 5.1) == UNKNOWN  # beyond max_range
    assert set(np.unique(view.grid)) == {UNKNOWN, FREE}
    assert len(view.obstacles) == 0


def test_free_cells_have_their_center_and_the_pixel_that_sees_it() -> None:
    view = projection().view(road(), IS_GROUND)
    assert len(view.free) == np.count_nonzero(view.grid == FREE)
    (index,) = np.flatnonzero((np.abs(view.free - [5.25, 1.25]) < 1e-6).all(axis=1))
    # Row 100 / 5.25 = 19.05, column 100 - 100 * 1.25 / 5.25 = 76.2.
    assert view.free_pixels[index] == 19 * CAMERA.width + 76


def test_an_obstacle_is_at_its_foot_and_what_is_behind_is_unknown() -> None:
    labels = road()
    labels[5:20, 90:111] = CAR  # its lowest row sees the ground 100 / 19 = 5.26 m ahead
    view = projection().view(labels, IS_GROUND)
    np.testing.assert_allclose(view.obstacles[:, 0], 100 / 19, atol=1e-5)
    np.testing.assert_allclose(view.obstacles[:, 1].max(), 10 / 19, atol=0.06)
    np.testing.assert_allclose(view.obstacles[:, 1].min(), -10 / 19, atol=0.06)
    assert (labels.reshape(-1)[view.obstacle_pixels] == CAR).all()
    assert (view.obstacle_pixels // CAMERA.width == 19).all()
    assert cell(view, 5.1, 0.1) == cell(view, 5.1, -0.1) == OCCUPIED
    assert cell(view, 4.6, 0.1) == FREE
    # Its upper rows would be 100 / 5 = 20 m ahead, and the road over it is hidden in part.
    assert cell(view, 6.1, 0.1) == cell(view, 9.1, 0.1) == UNKNOWN
    assert cell(view, 6.1, 2.1) == cell(view, 9.1, -2.1) == FREE


def test_only_the_nearest_obstacle_of_a_column_is_located() -> None:
    labels = road()
    labels[40:51, 90:111] = CAR  # 2 m ahead
    labels[15:21, 90:111] = CAR  # seen above it
    view = projection().view(labels, IS_GROUND)
    np.testing.assert_allclose(view.obstacles[:, 0], 2.0, atol=1e-5)
    assert cell(view, 3.6, 0.1) == UNKNOWN  # road, seen above it, too
    assert cell(view, 3.6, 1.6) == FREE


def test_the_lens_shows_no_ground_twice() -> None:
    """r (1 - 0.3 r²) falls again beyond r = 1.054, which leads back into the image."""
    camera = Camera(201, 201, (100.0, 100.0), (100.0, 100.0), "plumb_bob", (-0.3, 0.0, 0.0, 0.0))
    view = projection(camera=camera).view(np.full((201, 201), ROAD, np.uint8), IS_GROUND)
    x, y = view.free.T
    assert len(view.free) > 100
    assert np.hypot(y / x, 1 / x).max() < 1.06


def test_pixels_without_a_class_are_unknown_and_hide_nothing() -> None:
    labels = road()
    labels[18:21, :] = NONE
    view = projection().view(labels, IS_GROUND)
    assert cell(view, 5.3, 0.1) == UNKNOWN
    assert cell(view, 3.3, 0.1) == cell(view, 8.3, 0.1) == FREE
    assert len(view.obstacles) == 0


def test_an_obstacle_everywhere_leaves_nothing_free() -> None:
    view = projection().view(np.full_like(road(), CAR), IS_GROUND)
    assert set(np.unique(view.grid)) == {UNKNOWN, OCCUPIED}
    np.testing.assert_allclose(view.obstacles[:, 0], 1.0, atol=1e-5)  # the last row


@pytest.mark.parametrize(
    ("x", "y", "height", "roll", "pitch", "yaw"),
    [
        (0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        (0.5, -0.25, 1.5, 0.0, 0.3, 0.0),
        (-0.5, 0.25, 0.5, 0.1, 0.2, 0.4),
        (0.0, 0.0, 1.0, 0.0, 0.4, math.pi),
        (0.0, 0.0, 2.0, math.pi, 0.9, -1.5),
    ],
)
@pytest.mark.parametrize("model", ["", "plumb_bob", "equidistant"])
def test_an_obstacle_pixel_is_where_its_ray_meets_the_ground(
    x: float, y: float, height: float, roll: float, pitch: float, yaw: float, model: str
) -> None:
    """The place that the view gives is projected back by rotations about one axis at a time."""
    d = {"": (), "plumb_bob": (-0.1, 0.01, 0.001, 0.002), "equidistant": (0.01, 0.0, 0.0, 0.0)}
    camera = Camera(201, 151, (100.0, 110.0), (99.0, 74.0), model, d[model])
    pose = pose_from_angles((x, y, height), roll, pitch, yaw)
    labels = np.full((151, 201), CAR, np.uint8)
    view = projection(pose, camera).view(labels, IS_GROUND)
    assert len(view.obstacles) > 30
    points = np.column_stack((view.obstacles, np.zeros(len(view.obstacles)))) - (x, y, height)
    for angle, first, second in ((yaw, 0, 1), (pitch, 2, 0), (roll, 1, 2)):
        c, s = math.cos(angle), math.sin(angle)
        a, b = points[:, first].copy(), points[:, second].copy()
        points[:, first], points[:, second] = c * a + s * b, c * b - s * a
    forward, left, up = points.T
    pixels = camera.project(np.column_stack((-left, -up, forward)))
    found = np.column_stack((view.obstacle_pixels % 201, view.obstacle_pixels // 201))
    np.testing.assert_allclose(pixels, found, atol=0.2)


def test_a_rolled_camera_hides_what_is_behind_as_seen_from_it() -> None:
    """Upside down the image turns, and the ground does not."""
    upside_down = pose_from_angles((0.0, 0.0, 1.0), math.pi, 0.0, 0.0)
    camera = Camera(201, 101, (100.0, 100.0), (100.0, 100.0))
    labels = road()
    labels[5:21, 90:111] = CAR
    upright = projection().view(labels, IS_GROUND)
    turned = projection(upside_down, camera).view(labels[::-1, ::-1].copy(), IS_GROUND)
    assert np.array_equal(upright.grid, turned.grid)


def test_a_quaternion_gives_the_pose_of_the_same_angles() -> None:
    # That of static_transform_publisher for an optical frame: roll -90, yaw -90 degrees.
    half = 0.5
    level = pose_from_quaternion((1.0, 2.0, 3.0), (-half, half, -half, half))
    expected = pose_from_angles((1.0, 2.0, 3.0), 0.0, 0.0, 0.0)
    assert level.position == expected.position
    np.testing.assert_allclose(level.rotation, expected.rotation, atol=1e-12)
    longer = pose_from_quaternion((1.0, 2.0, 3.0), (-1.0, 1.0, -1.0, 1.0))
    np.testing.assert_allclose(longer.rotation, expected.rotation, atol=1e-12)


@pytest.mark.parametrize("bad", [(0.0, 0.0, 0.0, 0.0), (math.nan, 0.0, 0.0, 1.0)])
def test_a_quaternion_of_no_rotation_is_refused(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(CameraError, match="the transform of the camera has the position"):
        pose_from_quaternion((0.0, 0.0, 0.0), bad)


def test_a_camera_that_sees_no_ground_is_refused() -> None:
    with pytest.raises(CameraError, match=r"height of -0.1 m, not above the ground"):
        projection(pose_from_angles((0.0, 0.0, -0.1), 0.0, 0.0, 0.0))
    with pytest.raises(CameraError, match=r"sees no ground within 'ground.max_range', 10 m"):
        projection(pose_from_angles((0.0, 0.0, 1.0), 0.0, -1.0, 0.0))


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels are \(2, 2\)"):
        projection().view(np.zeros((2, 2), np.uint8), IS_GROUND)


def test_a_camera_of_extreme_focal_length_takes_no_memory() -> None:
    camera = Camera(3, 3, (1e9, 1e9), (1.0, 1.0))
    down = pose_from_angles((0.0, 0.0, 1.0), 0.0, math.pi / 4, 0.0)
    view = projection(down, camera).view(np.full((3, 3), CAR, np.uint8), IS_GROUND)
    assert 1 <= len(view.obstacles) <= 3


def test_a_large_grid_takes_little_memory_beyond_the_cells_that_are_seen() -> None:
    area = GroundArea(max_range=100.0, resolution=0.05)
    rays = CAMERA.pixel_rays()
    tracemalloc.start()
    large = GroundProjection(CAMERA, rays, LEVEL, area).view(road(), IS_GROUND)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert large.grid.shape == (4000, 4000)
    # Ahead on the left at (50.025, 10.025): row 2, column 80. Behind the robot nothing is seen.
    assert large.grid[2200, 3000] == FREE
    assert (large.grid[:, :2000] == UNKNOWN).all()
    seen = len(large.free)
    assert seen > 3_000_000
    assert peak < 150 * seen
