"""Run a model on this machine's hardware: from an image to labels, without ROS."""
