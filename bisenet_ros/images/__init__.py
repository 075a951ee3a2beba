"""Images as arrays: files, resizing, rendering of labels. Neither torch nor ROS."""
