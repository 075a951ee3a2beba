"""Procedurally drawn street scenes with exact labels, for the demo, the tests and training.

World coordinates are in meters: x to the right, y up, z along the street, where the camera drives.
Ground and houses are drawn first and textured together: they form the floor and side walls of one
tunnel. Objects on the street follow from far to near. Color and label are drawn by the same pen
into one canvas of four channels, so a pixel's label is always that of the object that colored it.

``street`` composes a frame from ``layout`` (where objects are), ``things`` (how they are drawn) and
``backdrop`` (sky, ground, texture, shadows and haze), all of which draw on a ``canvas``.

Any change to the appearance of frames changes the training data of models trained on them.
"""

from bisenet_ros.synthetic.street import DEMO_SEEDS, FRAME_RATE, TRAINING_SEEDS, Street
from bisenet_ros.synthetic.things import CLASS_NAMES

__all__ = ["CLASS_NAMES", "DEMO_SEEDS", "FRAME_RATE", "TRAINING_SEEDS", "Street"]
