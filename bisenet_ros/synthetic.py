"""A street drawn by code, with its exact labels: the camera of the demo and the tests, and training data.

The world is metres, x right, y up, z along the street; the camera drives along z at 15 frames a second. Ground
and houses come first and are textured together, because all of them lie on the floor or the two side walls of one
tunnel; everything that stands on the street follows, far to near. Colour and label share one four-channel
canvas and one brush, so a pixel's label is by construction the object that gave it its colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from math import exp
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

DEMO_SEEDS = range(0, 1000)
"""Seeds of the demo and the tests; no network is trained on these streets."""
TRAINING_SEEDS = range(1_000_000, 2_000_000)
"""Seeds of the training streets, disjoint from DEMO_SEEDS."""

FRAME_RATE = 15.0
METRES_PER_FRAME = 0.4
VIEW = 80.0  # metres; what is further away is skyline
NEAR = 0.5  # metres; what is closer is cut off
TEXELS_PER_METRE = 32.0

Colour = tuple[float, float, float]
Points = list[tuple[float, float, float]]

WALLS: list[Colour] = [
    (112, 74, 60), (134, 98, 76), (150, 136, 110), (168, 160, 146), (196, 188, 170), (104, 100, 96), (92, 66, 58),
]  # fmt: skip
PAINTS: list[Colour] = [
    (26, 27, 30), (58, 60, 66), (150, 153, 158), (205, 206, 208), (34, 48, 88), (122, 24, 26), (28, 62, 50),
]  # fmt: skip
CLOTHES: list[Colour] = [
    (30, 30, 36), (52, 56, 74), (84, 78, 70), (120, 40, 44), (40, 66, 60), (150, 144, 134), (38, 42, 90),
]  # fmt: skip
SKINS: list[Colour] = [(206, 164, 140), (172, 124, 98), (106, 74, 58)]
SIGN_SHAPES = ("round", "triangle", "board", "lights")


@dataclass(frozen=True)
class Camera:
    """A pinhole whose principal point is shifted: a small pitch and yaw that keep the verticals vertical."""

    width: int
    height: int
    focal: float
    centre: float
    horizon: float
    eye: float
    z: float

    def project(self, points: Points | NDArray[np.float64]) -> NDArray[np.int32]:
        """Pixels int32 [..., 2] of world points [..., 3]; depth is clamped, which cuts boxes along z exactly."""
        if isinstance(
            points, list
        ):  # a few points: plain arithmetic is several times faster than arrays
            return np.array([self.pixel(*point) for point in points], np.int32)
        scale = self.focal / np.maximum(points[..., 2] - self.z, NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + points[..., 0] * scale
        pixels[..., 1] = self.horizon + (self.eye - points[..., 1]) * scale
        return np.clip(pixels.round(), -16000, 16000).astype(np.int32)

    def pixel(self, x: float, y: float, z: float) -> tuple[int, int]:
        """Pixel (u, v) of one world point."""
        scale = self.focal / max(z - self.z, NEAR)
        u, v = self.centre + x * scale, self.horizon + (self.eye - y) * scale
        return round(min(max(u, -16000), 16000)), round(min(max(v, -16000), 16000))

    def scale(self, z: float) -> float:
        """Pixels a metre at world depth z."""
        return self.focal / max(z - self.z, NEAR)


@dataclass(frozen=True)
class Light:
    """Where the sun stands and how the air looks."""

    sun: float  # -1 left .. 1 right, scaled by how clear the sky is
    dusk: bool
    haze: Colour
    visibility: float  # metres until 63 % of a colour is haze
    gain: Colour  # exposure times colour temperature


class Canvas:
    """Colour and label in one uint8 [H, W, 4] array, and the brushes for it."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        self.pixels = np.zeros((camera.height, camera.width, 4), np.uint8)

    def brush(
        self, colour: Colour, label: int, z: float | None = None
    ) -> tuple[int, int, int, int]:
        """Colour seen through the air in front of world depth z (None: the air is added later), with its label."""
        clear = 1.0 if z is None else exp(min(self.camera.z - z, 0.0) / self.light.visibility)
        (r, g, b), (hr, hg, hb) = colour, self.light.haze
        return (
            int(hr + (r - hr) * clear),
            int(hg + (g - hg) * clear),
            int(hb + (b - hb) * clear),
            label,
        )

    def fill(
        self,
        points: Points | NDArray[np.float64],
        colour: Colour,
        label: int,
        z: float | None = None,
    ) -> None:
        """Fill one polygon [N, 3] or many disjoint ones [M, N, 3]."""
        pixels = self.camera.project(points)
        polygons = [pixels] if pixels.ndim == 2 else list(pixels)
        if polygons:
            cv2.fillPoly(self.pixels, polygons, self.brush(colour, label, z))

    def stroke(self, points: Points, width: float, colour: Colour, label: int, z: float) -> None:
        """Draw a line through points [N, 3] as thick as width metres at depth z."""
        thickness = max(1, round(width * self.camera.scale(z)))
        cv2.polylines(
            self.pixels,
            [self.camera.project(points)],
            False,
            self.brush(colour, label, z),
            thickness,
        )

    def disc(self, x: float, y: float, z: float, radius: float, colour: Colour, label: int) -> None:
        """Fill a circle that faces the camera."""
        u, v = self.camera.pixel(x, y, z)
        cv2.circle(
            self.pixels,
            (u, v),
            round(radius * self.camera.scale(z)),
            self.brush(colour, label, z),
            -1,
        )

    def foliage(
        self, x: float, y: float, z: float, size: tuple[float, float], colour: Colour, kind: int
    ) -> None:
        """Paste a crown of leaves, size (width, height) in metres, centred on (x, y, z)."""
        sprite = _crowns()[kind % len(_crowns())]
        scale = self.camera.scale(z)
        u, v = self.camera.pixel(x, y, z)
        w, h = max(size[0] * scale, 2.0), max(size[1] * scale, 2.0)
        left, right = max(int(u - w / 2), 0), min(int(u + w / 2), self.camera.width)
        top, bottom = max(int(v - h / 2), 0), min(int(v + h / 2), self.camera.height)
        if left >= right or top >= bottom:
            return
        step_u, step_v = sprite.shape[1] / w, sprite.shape[0] / h
        place = np.array(
            [[step_u, 0, (left - u + w / 2) * step_u], [0, step_v, (top - v + h / 2) * step_v]]
        )
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        shade = cv2.warpAffine(sprite, place, (right - left, bottom - top), flags=flags)
        dark, bright = (self.brush(_scaled(colour, factor), TREE, z) for factor in (0.0, 2.0))
        ramp = np.linspace(dark, bright, 256).astype(np.uint8)
        region = self.pixels[top:bottom, left:right]
        np.copyto(region, ramp[shade], where=(shade > 0)[..., None])


class Thing(Protocol):
    """Something that stands on the street at depth z."""

    @property
    def z(self) -> float: ...

    def draw(self, canvas: Canvas) -> None: ...


@dataclass(frozen=True)
class House:
    """A facade with rows of windows, flush with the side wall of the street."""

    x: float
    z: float
    length: float
    floors: int
    colour: Colour
    shop: Colour
    seed: int

    def draw(self, canvas: Canvas) -> None:
        side = np.sign(self.x)
        near, far, top = self.z, self.z + self.length, 3.4 + 2.9 * (self.floors - 1) + 0.6
        wall = _scaled(self.colour, 1.0 - 0.3 * side * canvas.light.sun)
        end = [(self.x, 0, near), (self.x, top, near), (self.x + side * 4, top + 2.2, near),
               (self.x + side * 8, top, near), (self.x + side * 8, 0, near)]  # fmt: skip
        canvas.fill(end, _scaled(self.colour, 0.75), BUILDING)
        canvas.fill(_wall(self.x, 0, top, near, far), wall, BUILDING)
        canvas.fill(_wall(self.x, top - 0.35, top, near, far), _scaled(wall, 0.7), BUILDING)
        canvas.fill(_wall(self.x, 0, 3.0, near + 0.3, far - 0.3), self.shop, BUILDING)
        canvas.fill(
            _wall(self.x, 2.5, 3.1, near + 0.3, far - 0.3), _scaled(self.shop, 1.5), BUILDING
        )

        rng = np.random.default_rng(self.seed)
        columns = int(self.length / 2.6)
        column, floor = np.meshgrid(np.arange(columns), np.arange(self.floors))
        z = near + (column.ravel() + 0.5) * self.length / columns
        y = np.where(floor.ravel() == 0, 0.6, 3.9 + 2.9 * (floor.ravel() - 1))
        z, y = z[z > canvas.camera.z], y[z > canvas.camera.z]
        lit = rng.random(columns * self.floors)[-len(z) :] < 0.4 if len(z) else np.zeros(0, bool)
        canvas.fill(_panes(self.x, y - 0.12, z, 0.62, 1.9), _scaled(wall, 1.4), BUILDING)
        panes = _panes(self.x, y, z, 0.5, 1.65)
        glass = _scaled(canvas.light.haze, 0.32)
        canvas.fill(panes, glass, BUILDING)
        if canvas.light.dusk:
            canvas.fill(panes[lit], (235, 190, 120), BUILDING)
        canvas.fill(_panes(self.x, y + 0.8, z, 0.5, 0.1), _scaled(wall, 1.4), BUILDING)


@dataclass(frozen=True)
class Fence:
    """Boards or railings on a backing, between the pavement and what lies behind."""

    x: float
    z: float
    length: float
    height: float
    colour: Colour

    def draw(self, canvas: Canvas) -> None:
        far, z = self.z + self.length, max(self.z, canvas.camera.z + 5)
        canvas.fill(
            _wall(self.x, 0, self.height, self.z, far), _scaled(self.colour, 0.62), FENCE, z
        )
        boards = np.arange(self.z + 0.15, far, 0.4)
        boards = boards[boards > canvas.camera.z + 1]
        canvas.fill(
            _panes(self.x, np.zeros(len(boards)), boards, 0.12, self.height + 0.12),
            self.colour,
            FENCE,
            z,
        )
        for y in (0.25, self.height - 0.3):
            canvas.fill(
                _wall(self.x, y, y + 0.12, self.z, far), _scaled(self.colour, 1.25), FENCE, z
            )


@dataclass(frozen=True)
class Tree:
    """A trunk (height 0: none, a bush) under a crown."""

    x: float
    z: float
    trunk: float
    size: tuple[float, float]
    colour: Colour
    kind: int

    def draw(self, canvas: Canvas) -> None:
        middle = self.trunk + self.size[1] * 0.42
        if self.trunk > 0:
            canvas.stroke(
                [(self.x, 0, self.z), (self.x, middle, self.z)], 0.34, (70, 60, 48), TREE, self.z
            )
        canvas.foliage(self.x, middle, self.z, self.size, self.colour, self.kind)


@dataclass(frozen=True)
class Lamp:
    """A street lamp: a tall post with an arm over the road."""

    x: float
    z: float
    height: float
    colour: Colour

    def draw(self, canvas: Canvas) -> None:
        x, z, top, arm = self.x, self.z, self.height, -1.6 * float(np.sign(self.x))
        canvas.stroke([(x, 0, z), (x, 1.3, z)], 0.34, _scaled(self.colour, 0.8), POLE, z)
        canvas.stroke([(x, 0, z), (x, top, z), (x + arm, top + 0.3, z)], 0.22, self.colour, POLE, z)
        canvas.stroke(
            [(x + 0.07, 1.3, z), (x + 0.07, top, z)], 0.06, _scaled(self.colour, 1.4), POLE, z
        )
        glow = (255.0, 224.0, 160.0) if canvas.light.dusk else (190.0, 190.0, 184.0)
        canvas.stroke([(x + arm, top + 0.3, z), (x + 1.5 * arm, top + 0.3, z)], 0.3, glow, POLE, z)


@dataclass(frozen=True)
class Sign:
    """A traffic sign or a traffic light on its post."""

    x: float
    z: float
    shape: str
    height: float
    colour: Colour

    def draw(self, canvas: Canvas) -> None:
        x, y, z = self.x, self.height, self.z
        canvas.stroke([(x, 0, z), (x, y, z)], 0.13, (112, 114, 112), POLE, z)
        white, red = (222.0, 222.0, 218.0), (186.0, 30.0, 34.0)
        if self.shape == "round":
            for radius, colour in ((0.5, red), (0.37, white), (0.12, (24.0, 24.0, 26.0))):
                canvas.disc(x, y, z, radius, colour, SIGN)
        elif self.shape == "triangle":
            for size, colour in ((0.62, red), (0.36, white)):
                corners = [
                    (x - size, y - size * 0.6, z),
                    (x + size, y - size * 0.6, z),
                    (x, y + size, z),
                ]
                canvas.fill(corners, colour, SIGN, z)
        elif self.shape == "board":
            canvas.fill(_front(x, y, z, 1.5, 1.0), white, SIGN, z)
            canvas.fill(_front(x, y, z, 1.4, 0.9), self.colour, SIGN, z)
            for row in (-0.22, 0.05, 0.27):
                canvas.fill(_front(x - 0.1 * row, y + row, z, 1.0 + row, 0.1), white, SIGN, z)
        else:
            canvas.fill(_front(x, y, z, 0.56, 1.3), (20, 22, 22), SIGN, z)
            lamps = (
                (0.4, (214.0, 40.0, 30.0)),
                (0.0, (70.0, 54.0, 22.0)),
                (-0.4, (24.0, 60.0, 44.0)),
            )
            for dy, colour in lamps:
                canvas.disc(x, y + dy, z, 0.15, colour, SIGN)


@dataclass(frozen=True)
class Car:
    """A car or a van along the street, seen from behind (away) or from the front."""

    x: float
    z: float
    paint: Colour
    tall: float
    away: bool

    def draw(self, canvas: Canvas) -> None:
        x, z, waist = self.x, self.z, 0.9 + 0.25 * (self.tall - 1.45)
        half, far, depth = 0.88, self.z + 4.3, max(self.z, canvas.camera.z + NEAR)
        side = -half if x > 0 else half  # the side turned to the camera
        light = 1.0 - 0.25 * np.sign(side) * -canvas.light.sun
        body, dark = _scaled(self.paint, light * 0.85), (22.0, 24.0, 28.0)
        glass = _scaled(canvas.light.haze, 0.3)
        back, front = z + (0.35 if self.away else 1.2), far - (1.2 if self.away else 0.35)
        # The roof is narrower than the body, and both ends of the cabin lean in.
        roof = 0.8 * half
        canvas.fill(
            [(x - half, 0.2, z), (x + half, 0.2, z), (x + half, 0.2, far), (x - half, 0.2, far)],
            dark,
            CAR,
            depth,
        )
        canvas.fill(_wall(x + side, 0.25, waist, z, far), body, CAR, depth)
        cabin = [(x + side, waist, back - 0.3), (x + side, waist, front + 0.4),
                 (x + 0.9 * side, self.tall, front - 0.3), (x + 0.9 * side, self.tall, back + 0.3)]  # fmt: skip
        canvas.fill(cabin, body, CAR, depth)
        for a, b in ((0.05, 0.46), (0.54, 0.92)):
            zs = back + (front - back) * np.array([a, b])
            canvas.fill(
                _wall(x + 0.96 * side, waist + 0.08, self.tall - 0.12, zs[0], zs[1]),
                glass,
                CAR,
                depth,
            )
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        for middle in (z + 0.8, far - 0.8):
            if middle > canvas.camera.z + 1:
                for radius, colour in ((0.34, dark), (0.18, (120.0, 122.0, 124.0))):
                    rim = np.stack(
                        [
                            np.full(12, x + side),
                            0.33 + radius * np.sin(turn),
                            middle + radius * np.cos(turn),
                        ],
                        -1,
                    )
                    canvas.fill(rim, colour, CAR, depth)
            self._end(canvas, x, back, waist, half, roof, glass)

    def _end(
        self,
        canvas: Canvas,
        x: float,
        back: float,
        waist: float,
        half: float,
        roof: float,
        glass: Colour,
    ) -> None:
        """The end that faces the camera: bonnet or boot, screen, lamps, bumper, number plate."""
        z, tall = self.z, self.tall
        lid = [
            (x - half, waist, z),
            (x + half, waist, z),
            (x + half, waist + 0.03, back),
            (x - half, waist + 0.03, back),
        ]
        canvas.fill(lid, _scaled(self.paint, 1.3), CAR, z)
        cabin = [
            (x - half, waist, back),
            (x + half, waist, back),
            (x + roof, tall, back + 0.4),
            (x - roof, tall, back + 0.4),
        ]
        canvas.fill(cabin, _scaled(self.paint, 0.95), CAR, z)
        screen = [(x - half * 0.86, waist + 0.06, back), (x + half * 0.86, waist + 0.06, back),
                  (x + roof * 0.86, tall - 0.1, back + 0.4), (x - roof * 0.86, tall - 0.1, back + 0.4)]  # fmt: skip
        canvas.fill(screen, glass, CAR, z)
        for wheel in (x - half + 0.16, x + half - 0.16):
            canvas.fill(_front(wheel, 0.2, z, 0.24, 0.4), (18, 18, 20), CAR, z)
        canvas.fill(_front(x, (0.3 + waist) / 2, z, 2 * half, waist - 0.3), self.paint, CAR, z)
        canvas.fill(_front(x, 0.38, z, 2 * half, 0.16), _scaled(self.paint, 0.5), CAR, z)
        lamp = (176.0, 26.0, 24.0) if self.away else (236.0, 234.0, 220.0)
        for dx in (-half + 0.18, half - 0.18):
            canvas.fill(_front(x + dx, waist - 0.16, z, 0.3, 0.18), lamp, CAR, z)
        plate = (214.0, 186.0, 60.0) if self.away else (222.0, 222.0, 216.0)
        canvas.fill(_front(x, 0.56, z, 0.52, 0.12), plate, CAR, z)


@dataclass(frozen=True)
class Walker:
    """A pedestrian; step is the phase of the stride in radians."""

    x: float
    z: float
    height: float
    coat: Colour
    trousers: Colour
    skin: Colour
    step: float

    def draw(self, canvas: Canvas) -> None:
        x, z, k = self.x, self.z, self.height / 1.75
        swing = 0.24 * k * float(np.sin(self.step))
        for foot in (swing, -swing):
            leg = [
                (x + 0.3 * foot, 0.85 * k, z),
                (x + 0.6 * foot, 0.45 * k, z),
                (x + foot, 0.05, z),
            ]
            canvas.stroke(
                leg, 0.17 * k, _scaled(self.trousers, 1.0 if foot > 0 else 0.8), PEDESTRIAN, z
            )
            canvas.stroke(
                [(x + foot - 0.08, 0.04, z), (x + foot + 0.08, 0.04, z)],
                0.09,
                (24, 22, 22),
                PEDESTRIAN,
                z,
            )
        coat = [(x - 0.21 * k, 0.72 * k, z), (x + 0.21 * k, 0.72 * k, z), (x + 0.25 * k, 1.4 * k, z),
                (x + 0.1 * k, 1.5 * k, z), (x - 0.1 * k, 1.5 * k, z), (x - 0.25 * k, 1.4 * k, z)]  # fmt: skip
        canvas.fill(coat, self.coat, PEDESTRIAN, z)
        for arm in (-1, 1):
            sleeve = [
                (x + arm * 0.24 * k, 1.36 * k, z),
                (x + arm * 0.28 * k - arm * 0.5 * swing, 0.85 * k, z),
            ]
            canvas.stroke(sleeve, 0.12 * k, _scaled(self.coat, 0.8), PEDESTRIAN, z)
        canvas.disc(x, 1.65 * k, z, 0.13 * k, _scaled(self.trousers, 0.7), PEDESTRIAN)
        canvas.disc(x, 1.61 * k, z, 0.11 * k, self.skin, PEDESTRIAN)


@dataclass(frozen=True)
class Rider:
    """A bicyclist; heading is the angle of the bicycle out of the street's direction, step the pedals' phase."""

    x: float
    z: float
    heading: float
    jersey: Colour
    trousers: Colour
    skin: Colour
    helmet: Colour
    step: float

    def draw(self, canvas: Canvas) -> None:
        z, dx, dz = self.z, float(np.sin(self.heading)), float(np.cos(self.heading))

        def at(*points: tuple[float, float]) -> Points:
            return [(self.x + a * dx, y, z + a * dz) for a, y in points]

        turn = np.linspace(0, 2 * np.pi, 17)
        metal = (46.0, 48.0, 52.0)
        for hub in (0.53, -0.53):
            rim = zip(
                (hub + 0.34 * np.cos(turn)).tolist(),
                (0.35 + 0.34 * np.sin(turn)).tolist(),
                strict=True,
            )
            canvas.stroke(at(*rim), 0.07, (20, 20, 22), BICYCLIST, z)
        canvas.stroke(
            at((-0.53, 0.35), (0, 0.32), (0.4, 0.85), (-0.15, 0.85), (-0.53, 0.35)),
            0.06,
            metal,
            BICYCLIST,
            z,
        )
        canvas.stroke(at((0.53, 0.35), (0.4, 0.98)), 0.06, metal, BICYCLIST, z)
        for phase in (self.step, self.step + np.pi):
            foot = (0.16 * float(np.cos(phase)), 0.32 + 0.16 * float(np.sin(phase)))
            leg = at((-0.15, 0.98), (0.2, 0.55 + 0.5 * foot[1]), foot)
            canvas.stroke(
                leg, 0.16, _scaled(self.trousers, 1.0 if phase == self.step else 0.8), BICYCLIST, z
            )
        canvas.stroke(at((-0.17, 1.0), (0.08, 1.45)), 0.42, self.jersey, BICYCLIST, z)
        canvas.stroke(
            at((0.06, 1.42), (0.2, 1.15), (0.42, 1.04)),
            0.12,
            _scaled(self.jersey, 0.8),
            BICYCLIST,
            z,
        )
        ((x, y, _),) = at((0.14, 1.74))
        canvas.disc(x, y, z, 0.13, self.skin, BICYCLIST)
        canvas.disc(x, y + 0.07, z, 0.13, self.helmet, BICYCLIST)


class Street:
    """One street, drawn from a seed: `frame(k)` is what the camera sees k frames after the start of the drive."""

    def __init__(self, seed: int, width: int = 480, height: int = 360) -> None:
        self.seed, self.width, self.height = seed, width, height
        rng = np.random.default_rng(seed)
        self.eye = rng.uniform(1.35, 1.65)
        self.focal = height * rng.uniform(1.0, 1.25)
        self.centre = width * (0.5 + rng.uniform(-0.07, 0.07))
        self.horizon = height * (0.5 + rng.uniform(-0.08, 0.06))

        # The British side: the camera drives in the left lane, x = 0.
        lane = rng.uniform(2.8, 3.5)
        self.parking = rng.random(2) < (0.45, 0.6)
        self.road = (
            -(lane / 2 + 0.9 + 1.9 * float(self.parking[0])),
            1.5 * lane + 0.5 + 1.9 * float(self.parking[1]),
        )
        self.walls = (self.road[0] - rng.uniform(2.8, 5.5), self.road[1] + rng.uniform(2.8, 5.5))
        self.lane = lane
        self.pitch = rng.uniform(8.0, 13.0)
        self.green, self.fenced, self.avenue = (
            rng.uniform(0.1, 0.65),
            rng.uniform(0.4, 0.9),
            rng.uniform(0, 0.7),
        )
        self.leaves = _between(rng, (48, 54, 24), (98, 96, 52))
        self.asphalt = _between(rng, (66, 66, 68), (112, 111, 112))
        self.paving = _between(rng, (104, 98, 92), (152, 144, 136))
        self.yellow_lines = rng.random() < 0.5

        weather = rng.choice(3, p=(0.5, 0.35, 0.15))  # overcast, sunny, dusk
        grey = rng.uniform(196, 238)
        haze: Colour = (grey, grey * 1.005, grey * 1.015)
        zenith = _scaled(haze, rng.uniform(0.8, 1.0))
        exposure, warmth = rng.uniform(1.05, 1.5), rng.uniform(0.93, 1.03)
        sun = 0.0
        if weather == 1:
            sun, zenith = (
                float(rng.choice((-1, 1))) * rng.uniform(0.5, 1.0),
                _between(rng, (120, 160, 205), (165, 190, 220)),
            )
        elif weather == 2:
            haze, zenith, exposure = (
                (190, 168, 158),
                (112, 124, 150),
                exposure * rng.uniform(0.55, 0.8),
            )
        self.zenith, self.clouds = zenith, rng.uniform(3, 18)
        gain = (exposure * warmth, exposure, exposure * (2 - warmth))
        self.light = Light(sun, bool(weather == 2), haze, rng.uniform(90, 260), gain)
        self.contrast, self.blur, self.noise = (
            rng.uniform(1.1, 1.6),
            rng.uniform(0.35, 0.8),
            rng.uniform(1.5, 4.5),
        )

    def frame(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The image, RGB uint8 [H, W, 3], and its labels, uint8 [H, W] in 0..10, of frame `index` >= 0."""
        z = index * METRES_PER_FRAME
        canvas = Canvas(
            Camera(self.width, self.height, self.focal, self.centre, self.horizon, self.eye, z),
            self.light,
        )
        first = int(z // self.pitch) - 1
        houses, wood, fences, things = [], [], [], list(self._traffic(z, index / FRAME_RATE))
        for cell in range(first, first + int(VIEW / self.pitch) + 2):
            for thing in self._cell(cell):
                if isinstance(thing, House):
                    houses.append(thing)
                elif isinstance(thing, Fence):
                    fences.append(thing)
                elif (
                    abs(thing.x) > max(self.walls[1], -self.walls[0])
                    or not self.walls[0] < thing.x < self.walls[1]
                ):
                    wood.append(thing)
                else:
                    things.append(thing)
        self._sky(canvas)
        self._ground(canvas)
        _draw(canvas, houses)
        self._texture(canvas, [thing for thing in things if _ahead(thing, z)])
        # What is nearer to the middle of the street is never hidden by what is nearer to its walls.
        _draw(canvas, wood)
        _draw(canvas, fences)
        _draw(canvas, things)
        labels = np.ascontiguousarray(canvas.pixels[..., 3])
        return self._sensor(canvas.pixels[..., :3], index), labels

    def _cell(self, cell: int) -> Iterator[Any]:
        """Everything that keeps its place between cell * pitch and the next, the same whenever it is asked for."""
        rng = np.random.default_rng((self.seed, cell + 10))
        near = cell * self.pitch
        for side in (0, 1):
            wall, kerb, out = self.walls[side], self.road[side], (-1, 1)[side]
            if rng.random() < self.green:
                for k in range(5):
                    size = (rng.uniform(3.5, 6.5), rng.uniform(4, 8))
                    x, z = (
                        wall + out * rng.uniform(0.4, 3),
                        near + (k + rng.random()) * self.pitch / 5,
                    )
                    yield Tree(x, z, 0.0, size, _jitter(rng, self.leaves), int(rng.integers(99)))
            else:
                paint, shop = _pick(rng, WALLS), _scaled(_pick(rng, WALLS), rng.uniform(0.3, 0.9))
                floors = int(rng.integers(2, 5))
                yield House(
                    wall,
                    near,
                    self.pitch,
                    floors,
                    _jitter(rng, paint),
                    shop,
                    int(rng.integers(1 << 31)),
                )
            if rng.random() < self.fenced:
                colour = (
                    _between(rng, (60, 46, 34), (120, 92, 66))
                    if rng.random() < 0.6
                    else _jitter(rng, (38, 46, 44))
                )
                yield Fence(wall - out * 0.25, near, self.pitch, rng.uniform(1.1, 1.8), colour)
            if rng.random() < self.avenue:
                size = (rng.uniform(3, 5), rng.uniform(3.5, 6))
                x, z = kerb + out * 0.9, near + rng.random() * self.pitch
                yield Tree(
                    x,
                    z,
                    rng.uniform(2.0, 2.8),
                    size,
                    _jitter(rng, self.leaves),
                    int(rng.integers(99)),
                )
            if (cell + side) % 2 == 0:
                yield Lamp(
                    kerb + out * 0.5, near + 1.0, rng.uniform(6, 9), _jitter(rng, (92, 96, 94))
                )
            for _ in range(int(rng.integers(1, 3))):
                shape, z = str(rng.choice(SIGN_SHAPES)), near + rng.random() * self.pitch
                blue_or_green = ((24.0, 62.0, 128.0), (18.0, 84.0, 62.0))[int(rng.integers(2))]
                yield Sign(
                    kerb + out * rng.uniform(0.4, 1.0),
                    z,
                    shape,
                    rng.uniform(2.2, 3.0),
                    blue_or_green,
                )
            if self.parking[side] and rng.random() < 0.75:
                z, tall = (
                    near + rng.random() * (self.pitch - 4.5),
                    float(rng.choice((1.42, 1.5, 1.65, 2.1))),
                )
                yield Car(kerb - out * 1.0, z, _jitter(rng, _pick(rng, PAINTS)), tall, side == 0)

    def _traffic(self, z: float, time: float) -> Iterator[Thing]:
        """Everything that moves. Each goes round a belt of VIEW metres in front of the camera, except the car ahead."""
        rng = np.random.default_rng((self.seed, 0))

        def ahead(speed: float) -> float:
            return z + (rng.uniform(0, VIEW) + (speed * time - z)) % VIEW

        if rng.random() < 0.6:
            gap = rng.uniform(9, 26) + 2.5 * np.sin(0.4 * time)
            yield Car(
                rng.uniform(-0.4, 0.3),
                z + gap,
                _jitter(rng, _pick(rng, PAINTS)),
                rng.uniform(1.42, 1.7),
                True,
            )
        for _ in range(int(rng.integers(1, 5))):
            tall = float(rng.choice((1.42, 1.5, 2.1)))
            yield Car(
                self.lane + rng.uniform(-0.2, 0.2),
                ahead(-8.0),
                _jitter(rng, _pick(rng, PAINTS)),
                tall,
                False,
            )
        for _ in range(int(rng.integers(16, 30))):
            side, speed = int(rng.integers(2)), rng.uniform(0.9, 1.6) * float(rng.choice((-1, 1)))
            out = (-1, 1)[side]
            x = self.road[side] + out * rng.uniform(
                0.3, abs(self.walls[side] - self.road[side]) - 0.8
            )
            clothes = _jitter(rng, _pick(rng, CLOTHES)), _jitter(rng, _pick(rng, CLOTHES))
            step = rng.uniform(0, 6) + 5 * time
            yield Walker(x, ahead(speed), rng.uniform(1.5, 1.9), *clothes, _pick(rng, SKINS), step)
        for _ in range(int(rng.integers(0, 3))):  # crossing the road, to and fro
            x = (self.road[0] + self.road[1]) / 2 + np.sin(
                rng.uniform(0, 6) + 0.25 * time
            ) * self.road[1] * 0.7
            clothes = _jitter(rng, _pick(rng, CLOTHES)), _jitter(rng, _pick(rng, CLOTHES))
            yield Walker(
                x, ahead(0.0), rng.uniform(1.5, 1.9), *clothes, _pick(rng, SKINS), 5 * time
            )
        for _ in range(int(rng.integers(6, 12))):
            away, turn = rng.random() < 0.6, rng.uniform(0.35, 1.1) * float(rng.choice((-1, 1)))
            x = rng.uniform(-1.9, -1.3) if away else self.lane + rng.uniform(1.3, 1.9)
            clothes = _jitter(rng, _pick(rng, CLOTHES + PAINTS)), _jitter(rng, _pick(rng, CLOTHES))
            helmet, step = _jitter(rng, _pick(rng, PAINTS)), rng.uniform(0, 6) + 6 * time
            heading = turn if away else np.pi + turn
            yield Rider(
                x, ahead(3.5 if away else -4.0), heading, *clothes, _pick(rng, SKINS), helmet, step
            )

    def _sky(self, canvas: Canvas) -> None:
        rows = max(int(self.horizon) + 2, 1)
        down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
        colour = (
            np.array(self.zenith, np.float32) * (1 - down)
            + np.array(self.light.haze, np.float32) * down
        )
        shift = self.seed % 256
        clouds = self.clouds * cv2.resize(
            _noise()[shift : shift + 80, :240], (self.width, rows), interpolation=cv2.INTER_CUBIC
        )
        for channel in range(3):
            canvas.pixels[:rows, :, channel] = np.clip(
                clouds + colour[:, channel : channel + 1], 0, 255
            )
        canvas.pixels[:rows, :, 3] = SKY
        # The end of the street: a hazy skyline that hardly changes while the camera drives.
        rng = np.random.default_rng((self.seed, 1))
        far, edges = canvas.camera.z + VIEW, np.arange(-70, 71, 7.0)
        for x in edges:
            height, colour_at = (
                rng.uniform(3, 11),
                (_pick(rng, WALLS), self.leaves)[int(rng.integers(2))],
            )
            label = TREE if colour_at is self.leaves else BUILDING
            if label == TREE:
                canvas.foliage(
                    x, height / 2, far, (11, height + 2), colour_at, int(rng.integers(99))
                )
            else:
                canvas.fill(_front(x, height / 2, far, 7.5, height), colour_at, BUILDING, far)

    def _ground(self, canvas: Canvas) -> None:
        z = canvas.camera.z
        canvas.pixels[max(int(self.horizon), 0) :] = canvas.brush(self.paving, PAVEMENT)
        left, right = self.road
        far = z + 20 * VIEW
        canvas.fill(_strip(left - 0.18, right + 0.18, z, far), _scaled(self.paving, 1.2), PAVEMENT)
        canvas.fill(_strip(left, right, z, far), self.asphalt, ROAD)
        canvas.fill(_strip(left, left + 0.25, z, far), _scaled(self.asphalt, 0.75), ROAD)
        canvas.fill(_strip(right - 0.25, right, z, far), _scaled(self.asphalt, 0.75), ROAD)
        white = _scaled((196, 196, 190), 0.75 + self.asphalt[0] / 400)
        middle = self.lane / 2 + 0.05
        start = z // 6 * 6
        dashes = [
            _strip(middle - 0.07, middle + 0.07, d, d + 3)
            for d in np.arange(start, start + 90, 6)
            if d + 3 > z
        ]
        canvas.fill(np.array(dashes, np.float64), white, ROAD)
        if self.yellow_lines:
            for edge in (left + 0.35, left + 0.6, right - 0.7, right - 0.45):
                canvas.fill(_strip(edge, edge + 0.1, z, far), (176, 150, 66), ROAD)
        # A zebra crossing every fifty metres or so.
        zebra = ((z + 5) // 53 + 1) * 53 - 5
        stripes = np.arange(left + 0.3, right - 0.5, 1.1)
        canvas.fill(
            np.array([_strip(x, x + 0.55, zebra, zebra + 3.2) for x in stripes]), white, ROAD
        )

    def _texture(self, canvas: Canvas, things: list[Any]) -> None:
        """Grain, shadows and haze for the floor and the walls, looked up where each pixel's ray meets the tunnel."""
        camera, sun = canvas.camera, self.light.sun
        u = (np.arange(self.width, dtype=np.float32) - self.centre) / self.focal
        v = (np.arange(self.height, dtype=np.float32) - self.horizon) / self.focal
        walls = np.where(u < 0, -self.walls[0], self.walls[1]) / np.maximum(np.abs(u), 1e-3)
        floor = np.where(v > 1e-3, self.eye / np.maximum(v, 1e-3), 1e4)
        walls, floor = (
            np.minimum(walls, 2 * VIEW).astype(np.float32),
            np.minimum(floor, 2 * VIEW).astype(np.float32),
        )
        depth = np.minimum(walls[None, :], floor[:, None])
        on_floor = floor[:, None] <= walls[None, :]
        across = np.where(on_floor, u[None, :], v[:, None]) * (depth * np.float32(TEXELS_PER_METRE))
        along = (depth + np.float32(camera.z % 512)) * np.float32(TEXELS_PER_METRE)
        grain = cv2.remap(_surfaces(), along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        labels = canvas.pixels[..., 3]
        shade = np.full_like(labels, 128)
        for channel, label in enumerate((ROAD, PAVEMENT, BUILDING)):
            np.copyto(shade, grain[..., channel], where=labels == label)
        gain = 1 + cv2.subtract(shade, 128, dtype=cv2.CV_32F) / 256 * np.exp(
            depth / np.float32(-25)
        )

        shadow = np.zeros_like(labels)
        if sun:
            side = (
                0 if sun < 0 else 1
            )  # the houses on the sun's side throw theirs across the street
            reach = self.walls[side] - np.sign(sun) * 6 * (1.2 - abs(sun))
            cv2.fillConvexPoly(
                shadow, camera.project(_strip(self.walls[side], reach, camera.z, camera.z + 400)), 1
            )
        for thing in things:
            if thing.z < camera.z + VIEW:
                half, length = (1.05, 4.5) if isinstance(thing, Car) else (0.35, 0.5)
                cast = -2.2 * sun
                left, right = thing.x - half + min(cast, 0), thing.x + half + max(cast, 0)
                cv2.fillConvexPoly(
                    shadow, camera.project(_strip(left, right, thing.z - 0.15, thing.z + length)), 1
                )
        ground = (labels == ROAD) | (labels == PAVEMENT)
        gain[(shadow > 0) & ground] -= np.float32(0.3 + 0.2 * abs(sun))

        clear = np.exp(depth / np.float32(-self.light.visibility))
        clear[labels == SKY] = 1
        gain *= clear
        for channel, haze in enumerate(self.light.haze):
            plane = canvas.pixels[..., channel] * gain + np.float32(haze) * (1 - clear)
            canvas.pixels[..., channel] = np.clip(plane, 0, 255)

    def _sensor(self, scene: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Exposure, tone, lens blur and noise: whole-image effects that leave the labels true."""
        tone = 255 * (np.arange(256) / 255) ** self.contrast
        tables = np.clip(np.stack([tone * g for g in self.light.gain], -1), 0, 255).astype(
            np.uint8
        )[None]
        image = cv2.LUT(np.ascontiguousarray(scene), tables)
        image = cv2.GaussianBlur(image, (3, 3), self.blur)
        rng = np.random.default_rng((self.seed, 2, index))
        top, left = rng.integers(0, 64, 2)
        grain = _sensor_noise(self.height, self.width)[
            top : top + self.height, left : left + self.width
        ]
        return np.asarray(
            cv2.addWeighted(image, 1.0, grain, self.noise / 32, 0.0, dtype=cv2.CV_8U), np.uint8
        )


def _draw(canvas: Canvas, things: list[Any]) -> None:
    for thing in sorted(things, key=lambda thing: thing.z, reverse=True):
        if _ahead(thing, canvas.camera.z):
            thing.draw(canvas)


def _ahead(thing: Any, z: float) -> bool:
    # What is long stays in view until its far end has passed; the rest goes while it is out of the picture.
    long = 4.0 if isinstance(thing, Car) else 14.0 if isinstance(thing, House | Fence) else -1.5
    return -long < thing.z - z < VIEW


def _scaled(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return min(255.0, r * factor), min(255.0, g * factor), min(255.0, b * factor)


def _pick(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _jitter(rng: np.random.Generator, colour: Colour) -> Colour:
    r, g, b = np.clip(
        np.array(colour) * rng.uniform(0.8, 1.2) + rng.uniform(-6, 6, 3), 0, 255
    ).tolist()
    return r, g, b


def _between(rng: np.random.Generator, low: Colour, high: Colour) -> Colour:
    r, g, b = (np.array(low) + rng.random() * (np.array(high) - np.array(low))).tolist()
    return r, g, b


def _wall(x: float, bottom: float, top: float, near: float, far: float) -> Points:
    """A rectangle along the street."""
    return [(x, bottom, near), (x, top, near), (x, top, far), (x, bottom, far)]


def _front(x: float, y: float, z: float, width: float, height: float) -> Points:
    """A rectangle that faces the camera."""
    w, h = width / 2, height / 2
    return [(x - w, y - h, z), (x + w, y - h, z), (x + w, y + h, z), (x - w, y + h, z)]


def _strip(left: float, right: float, near: float, far: float) -> Points:
    """A rectangle on the ground."""
    return [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]


def _panes(
    x: float, bottom: NDArray[np.float64], z: NDArray[np.float64], half: float, height: float
) -> NDArray[np.float64]:
    """Rectangles [N, 4, 3] along the street, around z [N] and above bottom [N]."""
    corners = [(np.full_like(z, x), bottom + dy, z + dz) for dy, dz in
               ((0, -half), (height, -half), (height, half), (0, half))]  # fmt: skip
    return np.stack([np.stack(corner, -1) for corner in corners], 1)


@cache
def _noise(size: int = 512) -> NDArray[np.float32]:
    """Cloud-like noise, float32 [size, size], mean 0, deviation 1, that repeats without a seam."""
    rng = np.random.default_rng(7)
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(f, 1 / size) ** 1.3
    noise = np.fft.irfft2(spectrum, (size, size))
    noise -= noise.mean()
    return np.asarray(noise / noise.std(), np.float32)


@cache
def _surfaces(size: int = 512) -> NDArray[np.uint8]:
    """Brightness of asphalt, paving slabs and brickwork, uint8 [size, size, 3]: 128 is even, 256 steps double it."""
    rng = np.random.default_rng(8)
    fine = rng.standard_normal((size, size)).astype(np.float32)
    row, column = np.indices((size, size))
    asphalt = 0.07 * fine + 0.06 * _noise()
    slabs = 0.04 * fine + 0.06 * _noise() - 0.22 * ((row % 32 < 2) | (column % 32 < 2))
    course = row // 8
    bricks = rng.standard_normal((size // 8, size // 16)).astype(np.float32)[
        course, (column + course % 2 * 8) // 16 % 32
    ]
    mortar = (row % 8 < 1) | ((column + course % 2 * 8) % 16 < 1)
    brickwork = np.where(mortar, 0.12, 0.09 * bricks) + 0.03 * fine + 0.06 * _noise()
    return np.clip(128 + 256 * np.stack([asphalt, slabs, brickwork], -1), 0, 255).astype(np.uint8)


@cache
def _crowns(count: int = 6, size: int = 224) -> list[NDArray[np.uint8]]:
    """Crowns of leaves, uint8 [size, size]: 0 is a hole, 128 the leaves' own colour, lighter towards the top."""
    rng = np.random.default_rng(9)
    crowns = []
    for _ in range(count):
        crown = np.zeros((size, size), np.uint8)
        for _ in range(1900):
            angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * size * 0.44
            x, y = size / 2 + radius * np.cos(angle), size / 2 + radius * np.sin(angle)
            shade = 128 * (1.25 - 0.6 * y / size) + rng.normal(0, 30)
            cv2.circle(
                crown,
                (round(x), round(y)),
                int(rng.integers(2, 7)),
                int(np.clip(shade, 30, 255)),
                -1,
            )
        crowns.append(crown)
    return crowns


@lru_cache(4)
def _sensor_noise(height: int, width: int) -> NDArray[np.int8]:
    """More noise than one frame needs, int8 [height + 64, width + 64, 3], deviation 32, to be cut at a random place."""
    noise = np.random.default_rng(10).standard_normal((height + 64, width + 64, 3), np.float32)
    return np.clip(noise * 32, -127, 127).astype(np.int8)
