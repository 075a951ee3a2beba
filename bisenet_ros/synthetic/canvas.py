"""The camera, and the pen that draws color and label together."""

from dataclasses import dataclass
from math import exp

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.synthetic import colors, textures
from bisenet_ros.synthetic.colors import Color
from bisenet_ros.synthetic.shapes import Array, Point, Points

NEAR = 0.5
"""Distance of the near clipping plane in meters."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with a shifted principal point instead of pitch and yaw: verticals stay so.

    - ``width``, ``height``: of the image in pixels.
    - ``focal``: focal length in pixels.
    - ``center``, ``horizon``: column and row of the principal point.
    - ``eye``: height above the ground in meters.
    - ``z``: position along the street in meters.
    """

    width: int
    height: int
    focal: float
    center: float
    horizon: float
    eye: float
    z: float

    def scale(self, z: float) -> float:
        """Return pixels per meter at depth z; clamped at NEAR, which clips edges along z."""
        return self.focal / max(z - self.z, NEAR)

    def pixel(self, x: float, y: float, z: float) -> tuple[int, int]:
        """Return column and row of a world point, which may be outside the image."""
        scale = self.scale(z)
        return round(self.center + x * scale), round(self.horizon + (self.eye - y) * scale)

    def pixels(self, points: Points | Array) -> NDArray[np.int32]:
        """Return columns and rows, int32 [...,2], of world points [...,3]."""
        if isinstance(points, list):  # for few points plain Python is several times faster
            f, cu, cv, eye, z0 = self.focal, self.center, self.horizon, self.eye, self.z
            scaled = ((x, y, f / max(z - z0, NEAR)) for x, y, z in points)
            pixel = [(round(cu + x * k), round(cv + (eye - y) * k)) for x, y, k in scaled]
            return np.array(pixel, np.int32)
        scale = self.focal / np.maximum(points[..., 2] - self.z, NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.center + points[..., 0] * scale
        pixels[..., 1] = self.horizon + (self.eye - points[..., 1]) * scale
        return pixels.round().astype(np.int32)


@dataclass(frozen=True)
class Light:
    """Position of the sun, and the look of sky and air."""

    sun: float  # -1 (far left) to 1 (far right); 0 if overcast
    dusk: bool
    haze: Color  # the sky at the horizon
    zenith: Color
    clouds: float  # standard deviation of the sky in gray levels
    visibility: float  # distance in meters at which 63 % of a color is haze


@dataclass(frozen=True)
class Canvas:
    """Color (RGB) and label of each pixel, uint8 [H,W,4], with the camera and light of a frame."""

    camera: Camera
    light: Light
    pixels: NDArray[np.uint8]


class Pen:
    """Pen for objects of one label at depth z.

    Args:
        canvas: drawn on.
        label: class id of everything that is drawn.
        z: depth in meters, for line widths and haze; None for surfaces that ``draw_texture`` covers
            with haze later.
    """

    def __init__(self, canvas: Canvas, label: int, z: float | None = None) -> None:
        self.pixels, self.camera, self.haze = canvas.pixels, canvas.camera, canvas.light.haze
        self.label, self.scale, self.clear = label, 1.0, 1.0
        if z is not None:
            self.scale = self.camera.scale(z)
            self.clear = exp(min(self.camera.z - z, 0.0) / canvas.light.visibility)

    def ink(self, color: Color) -> tuple[int, int, int, int]:
        """Return the color with haze, and the label as fourth channel."""
        (r, g, b), (hr, hg, hb), clear = color, self.haze, self.clear
        r, g, b = hr + (r - hr) * clear, hg + (g - hg) * clear, hb + (b - hb) * clear
        return int(r), int(g), int(b), self.label

    def fill(self, points: Points | Array, color: Color) -> None:
        """Fill one polygon [N,3], or several that do not overlap, [M,N,3]."""
        pixels = self.camera.pixels(points)
        polygons = [pixels] if pixels.ndim == 2 else list(pixels)
        if polygons:
            cv2.fillPoly(self.pixels, polygons, self.ink(color))

    def stroke(self, points: Points, width: float, color: Color) -> None:
        """Draw a line through points [N,3], ``width`` in meters."""
        line, thickness = self.camera.pixels(points), max(1, round(width * self.scale))
        cv2.polylines(self.pixels, [line], False, self.ink(color), thickness)

    def disc(self, x: float, y: float, z: float, radius: float, color: Color) -> None:
        """Fill a circle that faces the camera, ``radius`` in meters."""
        center = self.camera.pixel(x, y, z)
        cv2.circle(self.pixels, center, round(radius * self.scale), self.ink(color), -1)

    def foliage(self, at: Point, size: tuple[float, float], color: Color, kind: int) -> None:
        """Paste crown texture ``kind``, of ``size`` (width, height) in meters, around a point."""
        crown = textures.crowns()[kind % len(textures.crowns())]
        u, v = self.camera.pixel(*at)
        w, h = max(size[0] * self.scale, 2.0), max(size[1] * self.scale, 2.0)
        left, right = max(int(u - w / 2), 0), min(int(u + w / 2), self.camera.width)
        top, bottom = max(int(v - h / 2), 0), min(int(v + h / 2), self.camera.height)
        if left >= right or top >= bottom:
            return
        du, dv = crown.shape[1] / w, crown.shape[0] / h
        place = np.array([[du, 0, (left - u + w / 2) * du], [0, dv, (top - v + h / 2) * dv]])
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        shade = cv2.warpAffine(crown, place, (right - left, bottom - top), flags=flags)
        dark, bright = self.ink((0, 0, 0)), self.ink(colors.scaled(color, 2))
        inks = np.linspace(dark, bright, 256).astype(np.uint8)
        # A pixel of four bytes is copied as one 32-bit word.
        words = self.pixels[top:bottom, left:right].view(np.uint32)[..., 0]
        np.copyto(words, inks.view(np.uint32)[shade, 0], where=shade > 0)
