"""Training and evaluation: datasets, augmentation, loss, schedule, loop. No ROS in here."""
