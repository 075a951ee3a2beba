"""Selection of backend and precision for "auto": the fastest accurate engine of this machine."""

import logging
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.deploy.parity import MAX_WRONG, ParityCheck
from bisenet_ros.deploy.precision import MAX_DROP, PRECISIONS, miou_drop
from bisenet_ros.errors import InferenceError, quoted
from bisenet_ros.inference.backend import Backend, EngineOptions, backend_class, open_engine
from bisenet_ros.inference.cpu import default_threads
from bisenet_ros.inference.engine_cache import (
    EngineCache,
    Key,
    cache_folder,
    engine_key,
    model_digest,
)
from bisenet_ros.model.file import Model

T = TypeVar("T")

logger = logging.getLogger(__name__)

FRAMES = 3
"""Timed frames of a turn. An untimed one precedes them, since the caches are cold."""
HOPELESS = 1.5
"""Engines slower than the fastest by this factor in the first turn get no second turn."""

logged_reasons: set[str] = set()
"""Reasons against engines that this process has logged; they are not logged at each configure."""


def time_engines(
    engines: Sequence[Backend],
    images: NDArray[np.uint8],
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the median time of each engine in milliseconds, measured in turns.

    Args:
        engines: of one batch size and resolution.
        images: uint8 [N,H,W,3] RGB of that batch size and resolution.
        clock: current time in seconds.
    """
    times: list[list[float]] = [[] for _ in engines]

    def turn(index: int) -> None:
        engines[index].run(images)
        for _ in range(FRAMES):
            started = clock()
            engines[index].run(images)
            times[index].append(1e3 * (clock() - started))

    for index in range(len(engines)):
        turn(index)
    limit = HOPELESS * min(map(statistics.median, times), default=0.0)
    # In reverse order, so that a machine that slows down steadily favors no engine.
    for index in reversed(range(len(engines))):
        if statistics.median(times[index]) <= limit:
            turn(index)
    return [statistics.median(each) for each in times]


EngineTimer = Callable[[Sequence[Backend], NDArray[np.uint8]], list[float]]
"""Returns the time of each engine in milliseconds; the images are uint8 [N,H,W,3]."""


def load_backend(
    model: Model, options: EngineOptions, timer: EngineTimer = time_engines
) -> Backend:
    """Load ``model`` with ``options``; "auto" selects the fastest accurate engine.

    A named backend or precision is used or is an error. If one of them is "auto", each precision
    that the device computes natively is built, compared with PyTorch and timed at the first start.
    The choice is stored in the engine cache; the log has the choice and the alternatives.

    Args:
        model: what to load.
        options: of the engine.
        timer: see ``time_engines``.

    Raises:
        InferenceError: the backend is unknown, or cannot serve the options on this machine.
    """
    if options.precision not in ("auto", *PRECISIONS):
        raise InferenceError(
            f"precision {quoted(options.precision)} is unknown; use auto, {', '.join(PRECISIONS)}"
        )
    name = options.backend
    if name != "auto" and options.precision != "auto":
        return open_engine(model, options)
    if name != "auto":
        backend_class(name)
    selection = _Selection(model, options, timer)
    for group in _groups(name, options.device):
        engine = selection.fastest(group)
        if engine is not None:
            return engine
    if name != "auto" and len(selection.failed) == 1:
        raise InferenceError(*selection.failed.values())
    reasons = "; ".join(_reasons(selection.failed))
    raise InferenceError(f"no backend works on this machine: {reasons}")


class _Candidate(NamedTuple):
    backend: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


def _groups(name: str, device: str) -> list[list[tuple[str, str]]]:
    """Return groups of (backend, device); auto selects from the first group that works."""
    if name != "auto":
        return [[(name, device)]]
    if device == "auto":
        return [
            [("tensorrt", "auto")],
            [("torch", "cuda")],
            [("openvino", "cpu"), ("torch", "cpu")],
        ]
    return [[("tensorrt", device)], [("openvino", device), ("torch", device)]]


class _Selection:
    """Search for the fastest accurate engine; ``failed`` has the reasons against others."""

    def __init__(self, model: Model, options: EngineOptions, timer: EngineTimer) -> None:
        self.failed: dict[str, str] = {}
        self._model = model
        self._options = options
        self._timer = timer
        self._resolution = options.resolution_for(model)
        self._check = ParityCheck(model, self._resolution, options.batch_size)
        self._cache = EngineCache(cache_folder(options.engine_cache))

    def fastest(self, group: Sequence[tuple[str, str]]) -> Backend | None:
        """Return the fastest accurate engine of (backend, device) pairs, or None."""
        answers = {
            each: self._ask(*each, lambda backend, device: backend.identity(device))
            for each in group
        }
        identities = {each: answer for each, answer in answers.items() if answer is not None}
        if not identities:
            return None
        key = self._key(identities)
        before = dict(self.failed)
        choice = self._cache.recall(key)
        if choice is not None:
            engine = self._try(_Candidate(*choice["candidate"]))
            if engine is not None:
                self.failed |= choice["failed"]
                self._log(engine, choice["told"])
                return engine
        with ExitStack() as opened:
            engines = self._build(self._candidates(list(identities)), opened)
            if not engines:
                return None
            street = self._check.images["street"]
            images = np.stack([street] * self._options.batch_size)
            timed = self._timer(list(engines.values()), images)
            milliseconds = dict(zip(engines, timed, strict=True))
            best = min(engines, key=milliseconds.__getitem__)
            opened.pop_all()
        for candidate, engine in engines.items():
            if candidate != best:
                engine.close()
        times = ", ".join(f"{each} {ms:.1f} ms" for each, ms in milliseconds.items())
        failed = {what: why for what, why in self.failed.items() if what not in before}
        self._cache.remember(key, {"candidate": best, "told": times, "failed": failed})
        self._log(engines[best], times)
        return engines[best]

    def _ask(self, name: str, device: str, question: Callable[[type[Backend], str], T]) -> T | None:
        """Return what a backend answers about the device, or None with the reason in ``failed``."""
        try:
            return question(backend_class(name), device)
        except InferenceError as error:
            # Auto may ask PyTorch for the GPU and then for the CPU.
            where = "" if device == self._options.device else f" on {device}"
            self.failed[f"{name}{where}"] = str(error)
            return None

    def _candidates(self, group: Sequence[tuple[str, str]]) -> Iterator[_Candidate]:
        for index, (name, device) in enumerate(group):
            native = self._ask(name, device, lambda backend, on: backend.native_precisions(on))
            if native is None:
                continue
            if self._options.precision != "auto":
                yield _Candidate(name, device, self._options.precision)
                continue
            calibrated = bool(self._model.metadata.calibration)
            usable = [each for each in native if each != "int8" or calibrated]
            # Of the second backend of a group, PyTorch, only the fastest precision competes.
            for precision in usable[:1] if index else usable:
                yield _Candidate(name, device, precision)

    def _build(
        self, candidates: Iterable[_Candidate], opened: ExitStack
    ) -> dict[_Candidate, Backend]:
        """Return the engines that work and are accurate, and register them with ``opened``."""
        engines: dict[_Candidate, Backend] = {}
        for candidate in candidates:
            # A TensorRT build takes minutes, and fp32 is needed only if no other precision works.
            if engines and (candidate.backend, candidate.precision) == ("tensorrt", "fp32"):
                continue
            engine = self._try(candidate)
            if engine is not None:
                opened.callback(engine.close)
                engines[candidate] = engine
        return engines

    def _try(self, candidate: _Candidate) -> Backend | None:
        """Return the engine, or None with the reason in ``failed``."""
        options = replace(self._options, **candidate._asdict())
        try:
            engine = open_engine(self._model, options, self._check)
        except InferenceError as error:
            self.failed[str(candidate)] = str(error)
            return None
        reason = self._inaccurate(engine) if self._options.precision == "auto" else ""
        if reason:
            self.failed[str(candidate)] = reason
            engine.close()
            return None
        self.failed.pop(str(candidate), None)  # a stored choice may have failed before
        return engine

    def _inaccurate(self, engine: Backend) -> str:
        """Return why the engine is too inaccurate to be the default; empty if it is accurate."""
        if engine.precision == "fp32":
            return ""
        drop = miou_drop(self._model.metadata.scores, engine.precision, engine.arithmetic)
        if drop is not None:
            return (
                f"it loses {100 * drop:.1f} points of mIoU according to the scores in the model "
                f"file (limit {100 * MAX_DROP:.1f})"
                if drop > MAX_DROP
                else ""
            )
        if engine.parity.wrong > MAX_WRONG:
            return (
                f"{engine.parity.wrong:.1%} of the labels of the reference images differ from "
                f"PyTorch's fp32 beyond rounding (limit {MAX_WRONG:.0%}), and the model file has "
                f"no score for {engine.arithmetic}: run 'bisenet evaluate --record' on your own "
                "images to decide"
            )
        return ""

    def _key(self, identities: Mapping[tuple[str, str], str]) -> Key:
        """Return the key under which the choice among (backend, device) pairs is stored.

        The candidates follow from it; to list them, PyTorch would have to be imported.
        """
        return engine_key(
            self._model,
            self._options,
            engine="auto",
            precision=self._options.precision,
            device="; ".join(f"{name} on {what}" for (name, _), what in identities.items()),
            content=model_digest(self._model),
            build=f"{self._options.threads or default_threads()} threads",
        )

    def _log(self, engine: Backend, times: str) -> None:
        size = "{}x{}".format(*self._resolution)
        count = self._options.batch_size
        chosen = f"auto selected {engine.name} on {engine.device} in {engine.precision}"
        what = f"{size} frame" if count == 1 else f"{count} {size} frames"
        timed = f"per {what}: {times}"
        news = [reason for reason in _reasons(self.failed) if reason not in logged_reasons]
        logged_reasons.update(news)
        logger.info("; rejected ".join([f"{chosen} ({timed})", *news]))


def _reasons(failed: Mapping[str, str]) -> list[str]:
    return [f"{what}: {why}" for what, why in failed.items()]
