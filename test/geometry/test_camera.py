"""Rays and projections of cameras, against the formulas of their lens models."""

import numpy as np
import pytest

from bisenet_ros.errors import CameraError
from bisenet_ros.geometry.camera import Camera

SIZE = {"width": 64, "height": 48, "focal": (40.0, 50.0), "center": (30.0, 20.0)}
RAYS = np.array([[0.0, 0.0], [0.5, -0.25], [-0.6, 0.4], [0.3, 0.5]])
COEFFICIENTS = {
    "plumb_bob": (-0.2, 0.05, 0.01, -0.02, 0.01),
    "rational_polynomial": (0.3, 0.1, 0.01, -0.02, 0.02, 0.5, 0.15, 0.03),
    "equidistant": (-0.02, 0.01, -0.004, 0.001),
    "fisheye": (-0.02, 0.01, -0.004, 0.001),
}


def polynomial(rays: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """The model of plumb_bob and rational_polynomial, as in image_pipeline's CameraInfo."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*d, 0, 0, 0)[:8]
    x, y = rays.T
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return np.column_stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    )


def equidistant(rays: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    r = np.maximum(np.hypot(*rays.T), 1e-12)
    angle = np.arctan(r)
    bent = angle * (1 + sum(k * angle ** (2 * n + 2) for n, k in enumerate(d)))
    return rays * (bent / r)[:, None]


def in_front(rays: np.ndarray, distance: float = 1.0) -> np.ndarray:
    return distance * np.column_stack((rays, np.ones(len(rays))))


def test_rays_of_a_camera_without_distortion() -> None:
    rays = Camera(**SIZE).pixel_rays()
    assert rays.shape == (48, 64, 2)
    assert rays.dtype == np.float32
    np.testing.assert_allclose(rays[20, 30], [0, 0], atol=1e-7)
    np.testing.assert_allclose(rays[45, 50], [20 / 40, 25 / 50], rtol=1e-6)
    np.testing.assert_allclose(rays[0, 0], [-30 / 40, -20 / 50], rtol=1e-6)


def test_projection_without_distortion() -> None:
    points = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 7.0], [1.0, 1.0, 0.0], [1.0, 1.0, -2.0]])
    pixels = Camera(**SIZE).project(points)
    np.testing.assert_allclose(pixels[:2], [[40, 45], [30, 20]])
    assert np.isnan(pixels[2:]).all()


@pytest.mark.parametrize("model", COEFFICIENTS)
def test_projection_bends_rays_as_the_lens_does(model: str) -> None:
    d = COEFFICIENTS[model]
    bent = (equidistant if len(d) == 4 else polynomial)(RAYS, d)
    camera = Camera(**SIZE, distortion_model=model, distortion=d)
    expected = bent * SIZE["focal"] + SIZE["center"]
    np.testing.assert_allclose(camera.project(in_front(RAYS, 3.0)), expected, atol=1e-6)


@pytest.mark.parametrize("model", COEFFICIENTS)
def test_rays_are_what_the_lens_bends_into_the_pixels(model: str) -> None:
    d = COEFFICIENTS[model]
    rays = Camera(**SIZE, distortion_model=model, distortion=d).pixel_rays()
    bent = (equidistant if len(d) == 4 else polynomial)(rays.reshape(-1, 2).astype(float), d)
    found = (bent * SIZE["focal"] + SIZE["center"]).reshape(48, 64, 2)
    rows, columns = np.indices((48, 64))
    np.testing.assert_allclose(found[..., 0], columns, atol=0.11)
    np.testing.assert_allclose(found[..., 1], rows, atol=0.11)
    straight = Camera(**SIZE).pixel_rays()
    assert np.abs(rays - straight).max() > 0.02  # distortion matters here


def test_pixels_beyond_what_the_lens_can_show_have_no_ray() -> None:
    # r (1 - r²) has its maximum at r = 0.577, so nothing is seen beyond 0.385 of the center.
    camera = Camera(100, 1, (100.0, 100.0), (0.0, 0.0), "plumb_bob", (-1.0, 0.0, 0.0, 0.0))
    rays = camera.pixel_rays()[0]
    assert np.isfinite(rays[:38]).all()
    assert np.isnan(rays[40:]).all()


def test_a_fisheye_has_no_ray_beyond_90_degrees() -> None:
    # Without coefficients that bend, a pixel is an angle: 1.5 rad at 150, 1.6 rad at 160.
    camera = Camera(171, 1, (100.0, 100.0), (0.0, 0.0), "equidistant", (0.0, 0.0, 0.0, 0.0))
    rays = camera.pixel_rays()[0]
    np.testing.assert_allclose(rays[150, 0], np.tan(1.5), rtol=1e-3)
    assert np.isnan(rays[160:]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"focal": (0.0, 0.0)}, "focal lengths of 0 and 0 px, so the camera is not calibrated"),
        ({"focal": (float("nan"), 1.0)}, "values that are not finite"),
        (
            {"distortion_model": "thin\nprism", "distortion": (1.0,)},
            r"distortion_model 'thin\\nprism' \(valid: plumb_bob, rational_polynomial, equ",
        ),
        (
            {"distortion_model": "equidistant", "distortion": (0.0,) * 5},
            "5 distortion coefficients for equidistant, which has 4",
        ),
        (
            {"distortion_model": "plumb_bob", "distortion": (0.0, 0.0, 0.0, float("inf"))},
            "values that are not finite",
        ),
    ],
)
def test_a_calibration_that_cannot_be_used_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CameraError, match=message):
        Camera(**{**SIZE, **changes})
