"""Peak memory of an engine, measured in a separate process."""

import math
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bisenet_ros.errors import InferenceError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.selection import load_backend
from bisenet_ros.model.file import Model

FRAMES = 3


def peak_memory(
    load: Callable[[], Model], options: EngineOptions, seconds: float = math.inf
) -> float:
    """Return the peak resident memory of a process with one engine, in MB (1e6 bytes).

    The process loads the model and the engine, from the engine cache if possible, and labels a few
    frames. The figure includes Python and libraries, but no GPU memory.

    Args:
        load: returns the model. It is pickled, so it must be a module's function or a ``partial``
            of one.
        options: of the engine, with a named backend.
        seconds: time limit, after which the process is killed.

    Raises:
        InferenceError: the engine cannot be loaded, or its process was killed.
        TimeoutError: it took more than ``seconds``.
    """
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send, args=(sender, load, options), daemon=True)
    process.start()
    sender.close()  # the process has its own copy; now its end gives EOFError here
    try:
        if not receiver.poll(None if math.isinf(seconds) else max(seconds, 0.0)):
            raise TimeoutError(f"the {options.backend} process took more than {seconds:.0f} s")
        result: float | Exception = receiver.recv()
    except EOFError as error:
        raise InferenceError(
            f"the {options.backend} process was killed, probably because memory ran out; use a "
            "lower resolution"
        ) from error
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(result, Exception):
        raise result
    return result


def _send(sender: Connection, load: Callable[[], Model], options: EngineOptions) -> None:
    try:
        result: float | Exception = _measure(load, options)
    except Exception as error:  # raised again by the parent
        result = error
    sender.send(result)


def _measure(load: Callable[[], Model], options: EngineOptions) -> float:
    model = load()
    engine = load_backend(model, options)
    for _ in range(FRAMES):
        engine.run(np.zeros(options.input_shape(model), np.uint8))
    engine.close()
    return _peak_bytes() / 1e6


def _peak_bytes() -> int:
    # Not getrusage(): its maximum survives exec(), so it includes the parent's.
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM, so peak memory cannot be measured here")
