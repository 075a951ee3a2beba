"""From an image to labels on this machine's hardware. No ROS in here."""
