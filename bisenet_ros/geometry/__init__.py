"""Positions of pixels in space: arrays in, arrays out. No ROS.

Camera frames are optical (REP 103): x right, y down, z forward. Pixel (0, 0) is the center of the
first one, so the image begins at -1/2, as in OpenCV.
"""
