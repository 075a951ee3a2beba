"""Objects on the street and how they are drawn."""

from dataclasses import dataclass
from math import cos, pi, sin
from typing import ClassVar

import numpy as np

from bisenet_ros.synthetic import colors, shapes
from bisenet_ros.synthetic.canvas import NEAR, Canvas, Pen
from bisenet_ros.synthetic.colors import Color
from bisenet_ros.synthetic.shapes import Array, Points


@dataclass(frozen=True)
class Thing:
    """An object on the street whose near end is at depth z."""

    x: float
    z: float

    # Painter's algorithm: objects near the side walls never occlude those nearer to the middle, so
    # layers are drawn from the walls to the middle, each from far to near.
    layer: ClassVar[int] = 3
    # Drawn until the camera is this many meters past z. Negative for short objects, which are out
    # of view before the camera reaches them.
    reach: ClassVar[float] = -1.5
    shadow: ClassVar[tuple[float, float]] = (0.35, 0.5)  # half the width, and the length

    def draw(self, canvas: Canvas) -> None:
        """Draw color and label of the object."""
        raise NotImplementedError


@dataclass(frozen=True)
class House(Thing):
    """A facade with rows of windows in the plane of the side wall."""

    length: float
    floors: int
    color: Color
    shop: Color
    seed: int
    layer = 0
    reach = 14.0

    def draw(self, canvas: Canvas) -> None:
        pen, x, near, far = Pen(canvas, BUILDING), self.x, self.z, self.z + self.length
        out, top = (1 if x > 0 else -1), 3.4 + 2.9 * (self.floors - 1) + 0.6
        wall = colors.scaled(self.color, 1.0 - 0.3 * out * canvas.light.sun)
        gable = [(0, 0), (0, top), (4, top + 2.2), (8, top), (8, 0.0)]
        pen.fill([(x + out * dx, y, near) for dx, y in gable], colors.scaled(self.color, 0.75))
        pen.fill(shapes.wall(x, 0, top, near, far), wall)
        pen.fill(shapes.wall(x, top - 0.35, top, near, far), colors.scaled(wall, 0.7))
        pen.fill(shapes.wall(x, 0, 3.0, near + 0.3, far - 0.3), self.shop)
        pen.fill(shapes.wall(x, 2.5, 3.1, near + 0.3, far - 0.3), colors.scaled(self.shop, 1.5))

        columns = int(self.length / 2.6)
        column, floor = (c.ravel() for c in np.meshgrid(np.arange(columns), np.arange(self.floors)))
        z: Array = near + (column + 0.5) * self.length / columns
        y: Array = np.where(floor == 0, 0.6, 3.9 + 2.9 * (floor - 1))
        lit = np.random.default_rng(self.seed).random(len(z)) < 0.4
        ahead = z > canvas.camera.z
        z, y, lit = z[ahead], y[ahead], lit[ahead]
        frame, glass = colors.scaled(wall, 1.4), colors.scaled(canvas.light.haze, 0.32)
        pen.fill(shapes.panes(x, y - 0.12, z, 0.62, 1.9), frame)
        pen.fill(shapes.panes(x, y, z, 0.5, 1.65), glass)
        if canvas.light.dusk:
            pen.fill(shapes.panes(x, y[lit], z[lit], 0.5, 1.65), (235, 190, 120))
        pen.fill(shapes.panes(x, y + 0.8, z, 0.5, 0.1), frame)


@dataclass(frozen=True)
class Fence(Thing):
    """A fence of boards or railings behind the pavement."""

    length: float
    height: float
    color: Color
    layer = 2
    reach = 14.0

    def draw(self, canvas: Canvas) -> None:
        x, near, far = self.x, self.z, self.z + self.length
        pen = Pen(canvas, FENCE, max(near, canvas.camera.z + 5))
        pen.fill(shapes.wall(x, 0, self.height, near, far), colors.scaled(self.color, 0.62))
        boards = np.arange(near + 0.15, far, 0.4)
        boards = boards[boards > canvas.camera.z + 1]
        pen.fill(
            shapes.panes(x, np.zeros(len(boards)), boards, 0.12, self.height + 0.12), self.color
        )
        for y in (0.25, self.height - 0.3):
            pen.fill(shapes.wall(x, y, y + 0.12, near, far), colors.scaled(self.color, 1.25))


@dataclass(frozen=True)
class Tree(Thing):
    """A tree: ``trunk`` is its height, ``size`` the (width, height) of the crown, in meters."""

    trunk: float
    size: tuple[float, float]
    color: Color
    kind: int

    def draw(self, canvas: Canvas) -> None:
        pen, x, z = Pen(canvas, TREE, self.z), self.x, self.z
        middle = self.trunk + self.size[1] * 0.42
        if self.trunk:
            pen.stroke([(x, 0, z), (x, middle, z)], 0.34, (70, 60, 48))
        pen.foliage((x, middle, z), self.size, self.color, self.kind)


@dataclass(frozen=True)
class Bush(Tree):
    """A crown on the ground, where there is no house."""

    layer = 1


@dataclass(frozen=True)
class Lamp(Thing):
    """A street lamp: a post with an arm over the road."""

    height: float
    color: Color

    def draw(self, canvas: Canvas) -> None:
        pen, x, z, top, arm = Pen(canvas, POLE, self.z), self.x, self.z, self.height, -1.6
        arm = arm if self.x > 0 else -arm
        pen.stroke([(x, 0, z), (x, 1.3, z)], 0.34, colors.scaled(self.color, 0.8))
        pen.stroke([(x, 0, z), (x, top, z), (x + arm, top + 0.3, z)], 0.22, self.color)
        pen.stroke([(x + 0.07, 1.3, z), (x + 0.07, top, z)], 0.06, colors.scaled(self.color, 1.4))
        glow = (255, 224, 160) if canvas.light.dusk else (190, 190, 184)
        pen.stroke([(x + arm, top + 0.3, z), (x + 1.5 * arm, top + 0.3, z)], 0.3, glow)


@dataclass(frozen=True)
class Sign(Thing):
    """A traffic sign or traffic light on a post."""

    shape: str
    height: float
    color: Color
    shapes: ClassVar = ("round", "triangle", "board", "lights")

    def draw(self, canvas: Canvas) -> None:
        x, y, z, pen = self.x, self.height, self.z, Pen(canvas, SIGN, self.z)
        Pen(canvas, POLE, z).stroke([(x, 0, z), (x, y, z)], 0.13, (112, 114, 112))
        white, red, black = (222, 222, 218), (186, 30, 34), (24, 24, 26)
        if self.shape == "round":
            for radius, color in ((0.5, red), (0.37, white), (0.12, black)):
                pen.disc(x, y, z, radius, color)
        elif self.shape == "triangle":
            for r, color in ((0.62, red), (0.36, white)):
                pen.fill([(x - r, y - r * 0.6, z), (x + r, y - r * 0.6, z), (x, y + r, z)], color)
        elif self.shape == "board":
            pen.fill(shapes.front(x, y, z, 1.5, 1.0), white)
            pen.fill(shapes.front(x, y, z, 1.4, 0.9), self.color)
            for dy in (-0.22, 0.05, 0.27):
                pen.fill(shapes.front(x - 0.1 * dy, y + dy, z, 1.0 + dy, 0.1), white)
        else:
            pen.fill(shapes.front(x, y, z, 0.56, 1.3), (20, 22, 22))
            for dy, color in ((0.4, (214, 40, 30)), (0.0, (70, 54, 22)), (-0.4, (24, 60, 44))):
                pen.disc(x, y + dy, z, 0.15, color)


@dataclass(frozen=True)
class Car(Thing):
    """A car or van, seen from behind (``away``) or from the front."""

    paint: Color
    tall: float
    away: bool
    reach = 4.0
    shadow = (1.05, 4.5)
    half: ClassVar[float] = 0.88
    length: ClassVar[float] = 4.3

    def draw(self, canvas: Canvas) -> None:
        x, z, far, half, tall = self.x, self.z, self.z + self.length, self.half, self.tall
        waist, out = 0.9 + 0.25 * (tall - 1.45), (1 if x > 0 else -1)
        # A bonnet is longer than a boot.
        back, front = (z + 0.35, far - 1.2) if self.away else (z + 1.2, far - 0.35)
        dark, glass = (22, 24, 28), colors.scaled(canvas.light.haze, 0.3)

        # The underside, then the side that faces the camera.
        pen = Pen(canvas, CAR, max(z, canvas.camera.z + NEAR))
        pen.fill(shapes.strip(x - half, x + half, z, far, 0.2), dark)
        body = colors.scaled(self.paint, (1.0 - 0.25 * out * canvas.light.sun) * 0.85)
        side, gutter = x - out * half, x - 0.9 * out * half
        pen.fill(shapes.wall(side, 0.25, waist, z, far), body)
        cabin = [(side, waist, back - 0.3), (side, waist, front + 0.4)]
        pen.fill([*cabin, (gutter, tall, front - 0.3), (gutter, tall, back + 0.3)], body)
        for a, b in ((0.05, 0.46), (0.54, 0.92)):
            near, end = back + (front - back) * a, back + (front - back) * b
            pen.fill(
                shapes.wall(x - 0.96 * out * half, waist + 0.08, tall - 0.12, near, end), glass
            )
        for hub in (z + 0.8, far - 0.8):
            if hub > canvas.camera.z + 1:
                pen.fill(shapes.wheel(side, hub, 0.34), dark)
                pen.fill(shapes.wheel(side, hub, 0.18), (120, 122, 124))

        # The end that faces the camera: bonnet or boot, screen, tyres, bumper, lamps, number plate.
        pen, roof = Pen(canvas, CAR, z), 0.8 * half
        lid = shapes.trapezium(x, (half, waist, z), (half, waist + 0.03, back))
        frame = shapes.trapezium(x, (half, waist, back), (roof, tall, back + 0.4))
        low, high = (half * 0.86, waist + 0.06, back), (roof * 0.86, tall - 0.1, back + 0.4)
        pen.fill(lid, colors.scaled(self.paint, 1.3))
        pen.fill(frame, colors.scaled(self.paint, 0.95))
        pen.fill(shapes.trapezium(x, low, high), glass)
        for tyre in (x - half + 0.16, x + half - 0.16):
            pen.fill(shapes.front(tyre, 0.2, z, 0.24, 0.4), (18, 18, 20))
        pen.fill(shapes.front(x, (0.3 + waist) / 2, z, 2 * half, waist - 0.3), self.paint)
        pen.fill(shapes.front(x, 0.38, z, 2 * half, 0.16), colors.scaled(self.paint, 0.5))
        lamps = (176, 26, 24) if self.away else (236, 234, 220)
        plate = (214, 186, 60) if self.away else (222, 222, 216)
        for lamp in (x - half + 0.18, x + half - 0.18):
            pen.fill(shapes.front(lamp, waist - 0.16, z, 0.3, 0.18), lamps)
        pen.fill(shapes.front(x, 0.56, z, 0.52, 0.12), plate)


@dataclass(frozen=True)
class Walker(Thing):
    """A pedestrian; ``step`` is the phase of the stride in radians."""

    height: float
    coat: Color
    trousers: Color
    skin: Color
    step: float

    def draw(self, canvas: Canvas) -> None:
        pen, k = Pen(canvas, PEDESTRIAN, self.z), self.height / 1.75

        def at(*points: tuple[float, float]) -> Points:
            return [(self.x + dx, y, self.z) for dx, y in points]

        swing = 0.24 * k * sin(self.step)
        for foot in (swing, -swing):
            leg = at((0.3 * foot, 0.85 * k), (0.6 * foot, 0.45 * k), (foot, 0.05))
            pen.stroke(leg, 0.17 * k, colors.scaled(self.trousers, 1.0 if foot > 0 else 0.8))
            pen.stroke(at((foot - 0.08, 0.04), (foot + 0.08, 0.04)), 0.09, (24, 22, 22))
        hem, shoulder, neck = (0.21 * k, 0.72 * k), (0.25 * k, 1.4 * k), (0.1 * k, 1.5 * k)
        left = [(-dx, y) for dx, y in (neck, shoulder, hem)]
        pen.fill(at(hem, shoulder, neck, *left), self.coat)
        for side in (-1, 1):
            hand = side * 0.28 * k - side * 0.5 * swing
            arm = at((side * 0.24 * k, 1.36 * k), (hand, 0.85 * k))
            pen.stroke(arm, 0.12 * k, colors.scaled(self.coat, 0.8))
        pen.disc(self.x, 1.65 * k, self.z, 0.13 * k, colors.scaled(self.trousers, 0.7))
        pen.disc(self.x, 1.61 * k, self.z, 0.11 * k, self.skin)


@dataclass(frozen=True)
class Rider(Thing):
    """A bicyclist: ``heading`` relative to the street, ``step`` of the pedals, in radians."""

    heading: float
    jersey: Color
    trousers: Color
    skin: Color
    helmet: Color
    step: float

    def draw(self, canvas: Canvas) -> None:
        pen, dx, dz = Pen(canvas, BICYCLIST, self.z), sin(self.heading), cos(self.heading)

        def at(*points: tuple[float, float]) -> Points:
            return [(self.x + ahead * dx, y, self.z + ahead * dz) for ahead, y in points]

        metal, bottom, bars, saddle = (46, 48, 52), (0.0, 0.32), (0.4, 0.85), (-0.15, 0.85)
        for hub in (0.53, -0.53):
            rim = [(hub + 0.34 * cos(a), 0.35 + 0.34 * sin(a)) for a in np.linspace(0, 2 * pi, 17)]
            pen.stroke(at(*rim), 0.07, (20, 20, 22))
        pen.stroke(at((-0.53, 0.35), bottom, bars, saddle, (-0.53, 0.35)), 0.06, metal)
        pen.stroke(at((0.53, 0.35), (0.4, 0.98)), 0.06, metal)
        for phase, shade in ((self.step, 1.0), (self.step + pi, 0.8)):
            foot = (0.16 * cos(phase), 0.32 + 0.16 * sin(phase))
            leg = at((-0.15, 0.98), (0.2, 0.55 + 0.5 * foot[1]), foot)
            pen.stroke(leg, 0.16, colors.scaled(self.trousers, shade))
        pen.stroke(at((-0.17, 1.0), (0.08, 1.45)), 0.42, self.jersey)
        pen.stroke(
            at((0.06, 1.42), (0.2, 1.15), (0.42, 1.04)), 0.12, colors.scaled(self.jersey, 0.8)
        )
        x, y, _ = at((0.14, 1.74))[0]
        pen.disc(x, y, self.z, 0.13, self.skin)
        pen.disc(x, y + 0.07, self.z, 0.13, self.helmet)


CLASS_NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
