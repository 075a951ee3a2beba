"""Sky, ground, and the texture, shadows and haze on them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bisenet_ros.synthetic import colors, shapes, textures
from bisenet_ros.synthetic.canvas import Canvas, Pen
from bisenet_ros.synthetic.colors import Color
from bisenet_ros.synthetic.layout import VIEW, Layout
from bisenet_ros.synthetic.things import BUILDING, PAVEMENT, ROAD, SKY, TREE, Thing

TEXELS_PER_METER = np.float32(32)


def draw_sky(canvas: Canvas, seed: int, leaves: Color) -> None:
    """Draw clouds and a hazy skyline, which stays ``VIEW`` meters ahead of the camera.

    Args:
        canvas: drawn on.
        seed: seed of the street.
        leaves: color of the trees in the skyline.
    """
    light, camera = canvas.light, canvas.camera
    rows, shift = max(int(camera.horizon) + 2, 1), seed % 256
    patch = textures.noise()[shift : shift + 80, :240]
    clouds = cv2.resize(patch, (camera.width, rows), interpolation=cv2.INTER_CUBIC)
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    for channel in range(3):
        top, bottom = np.float32(light.zenith[channel]), np.float32(light.haze[channel])
        color = light.clouds * clouds + (top * (1 - down) + bottom * down)
        canvas.pixels[:rows, :, channel] = np.clip(color, 0, 255)
    canvas.pixels[:rows, :, 3] = SKY

    rng, far = np.random.default_rng((seed, 1)), camera.z + VIEW
    trees, houses = Pen(canvas, TREE, far), Pen(canvas, BUILDING, far)
    for x in range(-70, 71, 7):
        height, paint = rng.uniform(3, 11), colors.pick(rng, colors.WALLS)
        if rng.integers(2):
            size, kind = (11, height + 2), int(rng.integers(99))
            trees.foliage((x, height / 2, far), size, leaves, kind)
        else:
            houses.fill(shapes.front(x, height / 2, far, 7.5, height), paint)


def draw_ground(canvas: Canvas, layout: Layout) -> None:
    """Draw pavements, the road and its markings, without texture."""
    z, (left, right) = canvas.camera.z, layout.kerbs
    far, gutter = z + 20 * VIEW, colors.scaled(layout.asphalt, 0.75)
    road, pavement = Pen(canvas, ROAD), Pen(canvas, PAVEMENT)
    canvas.pixels[max(int(canvas.camera.horizon), 0) :] = pavement.ink(layout.paving)
    pavement.fill(
        shapes.strip(left - 0.18, right + 0.18, z, far), colors.scaled(layout.paving, 1.2)
    )
    road.fill(shapes.strip(left, right, z, far), layout.asphalt)
    road.fill(shapes.strip(left, left + 0.25, z, far), gutter)
    road.fill(shapes.strip(right - 0.25, right, z, far), gutter)

    white = colors.scaled((196, 196, 190), 0.75 + layout.asphalt[0] / 400)
    middle, start = layout.lane / 2 + 0.05, z // 6 * 6
    for dash in np.arange(start, start + 90, 6).tolist():
        if dash + 3 > z:
            road.fill(shapes.strip(middle - 0.07, middle + 0.07, dash, dash + 3), white)
    if layout.yellow_lines:
        for edge in (left + 0.35, left + 0.6, right - 0.7, right - 0.45):
            road.fill(shapes.strip(edge, edge + 0.1, z, far), (176, 150, 66))
    zebra = ((z + 5) // 53 + 1) * 53 - 5  # every 53 meters
    for stripe in np.arange(left + 0.3, right - 0.5, 1.1).tolist():
        road.fill(shapes.strip(stripe, stripe + 0.55, zebra, zebra + 3.2), white)


def draw_texture(canvas: Canvas, walls: tuple[float, float], things: list[Thing]) -> None:
    """Apply grain, shadows and haze where each pixel's ray meets the floor or a side wall.

    Args:
        canvas: with sky, ground and houses; changed in place.
        walls: x of the left and the right side wall.
        things: objects that cast shadows.
    """
    camera, light, labels = canvas.camera, canvas.light, canvas.pixels[..., 3]
    u = (np.arange(camera.width, dtype=np.float32) - camera.center) / camera.focal
    v = (np.arange(camera.height, dtype=np.float32) - camera.horizon) / camera.focal
    wall = np.where(u < 0, -walls[0], walls[1]) / np.maximum(np.abs(u), 1e-3)
    floor = np.where(v > 1e-3, camera.eye / np.maximum(v, 1e-3), 1e4)
    wall = np.minimum(wall, 2 * VIEW).astype(np.float32)[None, :]
    floor = np.minimum(floor, 2 * VIEW).astype(np.float32)[:, None]
    depth = np.minimum(wall, floor)
    across = np.where(floor <= wall, u[None, :], v[:, None]) * (depth * TEXELS_PER_METER)
    along = (depth + np.float32(camera.z % 512)) * TEXELS_PER_METER
    grains = cv2.remap(
        textures.surfaces(), along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    grain = np.full_like(labels, 128)
    for channel, label in enumerate((ROAD, PAVEMENT, BUILDING)):
        np.copyto(grain, grains[..., channel], where=labels == label)
    # Grain fades with distance, where it would alias and flicker.
    gain = grain.astype(np.float32)
    gain -= 128
    gain /= 256
    gain *= np.exp(depth / np.float32(-25))
    gain += 1

    shadow = _shadow(canvas, walls, things)
    ground = (labels == ROAD) | (labels == PAVEMENT)
    gain[(shadow > 0) & ground] -= np.float32(0.3 + 0.2 * abs(light.sun))

    clear = np.exp(depth / np.float32(-light.visibility))
    clear[labels == SKY] = 1
    gain *= clear
    air = 1 - clear
    for channel, haze in enumerate(light.haze):
        plane = canvas.pixels[..., channel] * gain
        plane += np.float32(haze) * air
        canvas.pixels[..., channel] = np.clip(plane, 0, 255, out=plane)


def _shadow(canvas: Canvas, walls: tuple[float, float], things: list[Thing]) -> NDArray[np.uint8]:
    """Return a mask of the shadows on the ground, uint8 [H,W], 0 or 1, ignoring occlusion."""
    camera, sun = canvas.camera, canvas.light.sun
    shadow = np.zeros((camera.height, camera.width), np.uint8)
    if sun:  # houses on the side of the sun cast a shadow on the street
        wall_x = walls[0 if sun < 0 else 1]
        reach = (6 if sun < 0 else -6) * (1.2 - abs(sun))
        strip = shapes.strip(wall_x, wall_x + reach, camera.z, camera.z + 400)
        cv2.fillConvexPoly(shadow, camera.pixels(strip), 1)
    for thing in things:
        if thing.layer == Thing.layer:
            half, length = thing.shadow
            left, right = thing.x - half - max(2.2 * sun, 0), thing.x + half - min(2.2 * sun, 0)
            strip = shapes.strip(left, right, thing.z - 0.15, thing.z + length)
            cv2.fillConvexPoly(shadow, camera.pixels(strip), 1)
    return shadow
