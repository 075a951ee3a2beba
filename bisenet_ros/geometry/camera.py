"""Camera model: from pixels to rays and back, with lens distortion."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.errors import CameraError, quoted

Floats = NDArray[np.float64]

DISTORTION_MODELS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
    "fisheye": (4,),
}
"""Numbers of coefficients of each model, by its name in sensor_msgs/CameraInfo."""

FISHEYE = ("equidistant", "fisheye")

MAX_ERROR_PX = 0.1
"""Maximum distance of the projection of a pixel's ray from the pixel. Beyond the angle up to which
a lens was calibrated its polynomial may turn back, so that a pixel has no ray, or a wrong one."""


@dataclass(frozen=True)
class Camera:
    """A calibrated camera, in pixels of one image.

    - ``width``, ``height``: of the image [px].
    - ``focal``, ``center``: (x, y) [px].
    - ``distortion_model``: a key of ``DISTORTION_MODELS``; without ``distortion``, any.
    - ``distortion``: its coefficients; empty for a rectified image.

    Raises:
        CameraError: a number is not finite, a focal length is not positive, or the distortion model
            or the number of its coefficients is unknown.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not np.isfinite([*self.focal, *self.center, *self.distortion]).all():
            raise CameraError(
                "camera_info has values that are not finite: calibrate the camera again"
            )
        if min(self.focal) <= 0:
            raise CameraError(
                f"camera_info has focal lengths of {self.focal[0]:g} and {self.focal[1]:g} px, so "
                "the camera is not calibrated: calibrate it (camera_calibration), and let its "
                "driver publish the result"
            )
        if not self.distortion:
            return
        counts = DISTORTION_MODELS.get(self.distortion_model)
        if counts is None:
            raise CameraError(
                f"camera_info has distortion_model {quoted(self.distortion_model)} (valid: "
                f"{', '.join(DISTORTION_MODELS)}): rectify the images, and set 'rectified' to true"
            )
        if len(self.distortion) not in counts:
            raise CameraError(
                f"camera_info has {len(self.distortion)} distortion coefficients for "
                f"{self.distortion_model}, which has {' or '.join(map(str, counts))}: correct the "
                "calibration"
            )

    def pixel_rays(self) -> NDArray[np.float32]:
        """Return the ray of each pixel: float32 [H,W,2], x/z and y/z in the optical frame.

        NaN where the lens model has none within 90 degrees of the optical axis.
        """
        grid = np.empty((self.height, self.width, 2))
        grid[..., 0] = np.arange(self.width)
        grid[..., 1] = np.arange(self.height)[:, None]
        pixels = grid.reshape(-1, 2)
        rays = self._undistort(pixels)
        if self.distortion:
            error = np.abs(self.project(np.column_stack((rays, np.ones(len(rays))))) - pixels)
            rays[~(error.max(axis=1) < MAX_ERROR_PX)] = np.nan
        return rays.reshape(self.height, self.width, 2).astype(np.float32)

    def project(self, points: Floats) -> Floats:
        """Return the pixels of points.

        Args:
            points: [N,3] in the optical frame [m].

        Returns:
            [N,2]: column and row, inside the image or not. NaN for points that are not in front of
            the camera.
        """
        pixels = np.full((len(points), 2), np.nan)
        front = points[:, 2] > 0
        rays = points[front, :2] / points[front, 2:]
        if not self.distortion:
            pixels[front] = rays * self.focal + self.center
        elif len(rays):
            ones = np.ones((len(rays), 1))
            seen = np.hstack((rays, ones))[:, None]
            library = cv2.fisheye if self.distortion_model in FISHEYE else cv2
            found, _ = library.projectPoints(
                seen, np.zeros(3), np.zeros(3), self._matrix, np.array(self.distortion)
            )
            pixels[front] = found.reshape(-1, 2)
        return pixels

    @property
    def _matrix(self) -> Floats:
        (fx, fy), (cx, cy) = self.focal, self.center
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])

    def _undistort(self, pixels: Floats) -> Floats:
        if not self.distortion:
            return np.asarray((pixels - self.center) / self.focal, np.float64)
        library = cv2.fisheye if self.distortion_model in FISHEYE else cv2
        # By default OpenCV stops after 5 to 10 steps, which leaves pixels of error at the corners.
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-3)
        rays = library.undistortPoints(
            pixels[:, None], self._matrix, np.array(self.distortion), criteria=stop
        )
        return np.asarray(rays.reshape(-1, 2), np.float64)
