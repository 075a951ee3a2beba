"""Nodes in the test's own process, each in a context of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


@contextmanager
def make_node(name: str, *ros_arguments: str) -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *ros_arguments], context=context)
    node = rclpy.create_node(name, context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def spin_until(node: Node, condition: Callable[[], object]) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = node.get_clock().now().nanoseconds + 20e9
    while not condition():
        assert node.get_clock().now().nanoseconds < end
        executor.spin_once(timeout_sec=0.02)
    executor.shutdown()
