"""A lifecycle node whose transitions may take long and fail, and that says why they did.

rclpy runs a transition on the executor's thread, so that a node which loads an engine answers
nothing meanwhile, and turns whatever a transition raises into a bare error code. Here transitions
run on the worker, one after another, and every cause is logged.
"""

import traceback
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node

from bisenet_ros.ros.worker import Worker

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR


class ManagedNode(LifecycleNodeMixin, Node):
    """Subclasses say what to do in ``configure``, ``activate``, ``deactivate`` and ``cleanup``.

    Each runs on ``worker``. ValueError and OSError are the user's to mend: the transition fails
    and can be tried again. Anything else is ours: the node releases everything and is
    unconfigured. ``deactivate`` and ``cleanup`` must bear being called at any time.
    """

    def __init__(self, name: str, worker: Worker[Any]) -> None:
        Node.__init__(self, name)
        # A group of its own, so that get_state is answered while a transition is under way.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self.worker = worker
        service = self._service_change_state
        self._rclpy_change_state: Callable[[Any, Any], Any] = service.callback
        service.callback = self._change_state  # type: ignore[assignment]  # may be a coroutine

    def configure(self) -> None:
        """Acquire what does not need the graph's attention yet."""
        raise NotImplementedError

    def activate(self) -> None:
        """Start to work."""
        raise NotImplementedError

    def deactivate(self) -> None:
        """Release what ``activate`` acquired."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Release what ``configure`` acquired."""
        raise NotImplementedError

    def start(self) -> None:
        """Configure and activate, unless one of the two fails."""
        self.worker.submit(lambda: self.trigger_configure() == SUCCESS and self.trigger_activate())

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``configure``; what it had acquired before it failed is released."""
        return self._attempt("configure", self.configure, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``activate``; what it had acquired before it failed is released."""
        return self._attempt("activate", self.activate, undo=self.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``deactivate``."""
        return self._attempt("deactivate", self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``cleanup``."""
        return self._attempt("clean up", self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._attempt("shut down", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node is unconfigured then and can be tried again."""
        return self._attempt("release after an error", self.release)

    def release(self) -> None:
        """Release everything, from whatever state."""
        self.deactivate()
        self.cleanup()

    def _attempt(
        self, what: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            action()
        except (ValueError, OSError) as error:
            self.get_logger().error(f"cannot {what}: {error}")
            if undo is not None:
                undo()
            return FAILURE
        except Exception:
            self.get_logger().error(f"cannot {what}: {traceback.format_exc()}")
            return ERROR
        return SUCCESS

    async def _change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        transition = request.transition.label or request.transition.id
        future = self.worker.submit(lambda: self._rclpy_change_state(request, response))
        try:
            return await _Pending(future)
        except Exception as error:  # rclpy raises for a transition that the state does not have
            self.get_logger().error(f"no transition '{transition}' from this state: {error}")
            response.success = False
            return response


class _Pending:
    """Waits for a future without spinning: rclpy polls a waiting coroutine as fast as it can.

    The executor's thread rests here for some milliseconds at a time and serves its other
    callbacks in between.
    """

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[None, None, Any]:
        while wait((self._future,), timeout=0.005).not_done:
            yield
        return self._future.result()
