"""Training: settings, augmentation, loss, trainer, loop and checkpoints. Imports no ROS."""
