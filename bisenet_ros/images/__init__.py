"""Images as arrays: reading, resizing and rendering, without torch or ROS."""
