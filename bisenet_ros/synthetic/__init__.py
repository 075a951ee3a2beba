"""A street drawn by code, with exact labels: camera of the demo and the tests, and training data.

The world is meters, x right, y up, z along the street; the camera drives along z. Ground and houses
come first and are textured together, because all of them lie on the floor or the two side walls of
one tunnel; what stands on the street follows, far to near. Color and label share one canvas of
four channels and one pen, so a pixel's label is by construction the object that gave it its color.

From here on: ``street`` puts a frame together out of ``layout`` (what stands where), ``things``
(what they look like), ``backdrop`` (sky, ground, light) and ``sensor``; all draw on a ``canvas``.

A change to what a frame looks like changes the training data: weights say which version made them.
"""

from bisenet_ros.synthetic.street import DEMO_SEEDS, FRAME_RATE, TRAINING_SEEDS, Street
from bisenet_ros.synthetic.things import CLASS_NAMES

__all__ = ["CLASS_NAMES", "DEMO_SEEDS", "FRAME_RATE", "TRAINING_SEEDS", "Street"]
