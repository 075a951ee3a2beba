"""Interleaved measurement of a model's engines at one resolution."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bisenet_ros.benchmark.interleave import MIN_ROUNDS, Budget, take_turns
from bisenet_ros.benchmark.machine import CpuLoad
from bisenet_ros.errors import InferenceError
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter, StageTimes
from bisenet_ros.model.file import Model


class Engine(NamedTuple):
    """An engine to measure: names of a backend and a precision."""

    backend: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend}:{self.precision}"


@dataclass(frozen=True)
class Result:
    """Figures of one engine at one resolution, (width, height) in pixels.

    - ``p50_ms``, ``p95_ms``, ``p99_ms``: percentiles of the engine's time for a batch in
      milliseconds, from images to labels at ``resolution``, without resizing.
    - ``fps``: frames per second at the median time.
    - ``ratio``: median time of the reference divided by that of this engine; None if unreliable.
    - ``stages_ms``: median times of resizing the input, inference, and resizing the labels; of
      one image, except for inference.
    - ``frames``: number of counted batches.
    - ``gmacs_per_s``: 1e9 multiply-adds of the network's convolutions per second.
    - ``peak_memory_mb``: see ``peak_memory``; None if not measured.
    """

    engine: Engine
    device: str
    resolution: tuple[int, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    ratio: float | None
    stages_ms: StageTimes
    frames: int
    gmacs_per_s: float
    peak_memory_mb: float | None = None


@dataclass(frozen=True)
class Measurement:
    """The results of one resolution.

    - ``results``: of the engines that were measured, the reference first.
    - ``skipped``: reasons by engine that was not measured.
    - ``others``: CPU share of other processes during the measurement, 0..1.
    """

    results: list[Result]
    skipped: dict[Engine, str]
    others: float


def measure(
    model: Model,
    engines: Sequence[Engine],
    reference: Engine,
    options: EngineOptions,
    image: NDArray[np.uint8],
    gmacs: float,
    budget: Budget,
) -> Measurement:
    """Measure ``engines`` and the ``reference`` in rounds in which they take turns.

    Args:
        model: the model to run.
        engines: engines to measure; may include the reference.
        reference: engine that ratios refer to.
        options: of all engines; backend and precision are replaced.
        image: camera image, uint8 [H,W,3] RGB of any size.
        gmacs: 1e9 multiply-adds per frame.
        budget: total time. Engines whose loading would leave too little time for the rounds are
            skipped; loading is not interrupted.

    Raises:
        InferenceError: the reference does not work.
    """
    wanted = list(dict.fromkeys((reference, *engines)))
    segmenters: dict[Engine, Segmenter] = {}
    skipped: dict[Engine, str] = {}
    frame_seconds: list[float] = []
    slowest_load = 0.0
    # In reverse order of loading: each engine restores the number of threads that it found.
    with ExitStack() as stack:
        for position, engine in enumerate(wanted):
            # The next engine is expected to take as long as the slowest so far.
            one_more = slowest_load + MIN_ROUNDS * max(frame_seconds, default=0.0)
            missing = MIN_ROUNDS * sum(frame_seconds) + one_more - budget.left()
            if segmenters and missing > 0:
                late = wanted[position:]
                enough = budget.extended(missing + (len(late) - 1) * one_more)
                reason = f"no time left to load it, give --seconds {enough}"
                skipped |= dict.fromkeys(late, reason)
                break
            started = budget.clock()
            try:
                segmenter, seconds = stack.enter_context(
                    _loaded(model, engine, options, image, budget.clock)
                )
            except InferenceError as error:
                if engine == reference:
                    raise InferenceError(
                        f"the reference {reference} does not work: {error}"
                    ) from error
                skipped[engine] = str(error)
                continue
            segmenters[engine] = segmenter
            frame_seconds.append(seconds)
            slowest_load = max(slowest_load, budget.clock() - started)
        load = CpuLoad()
        times = take_turns(
            [partial(_times, each, image) for each in segmenters.values()], budget, frame_seconds
        )
        others = load.others()
        results = [
            _result(engine, segmenter, each, gmacs)
            for (engine, segmenter), each in zip(segmenters.items(), times, strict=True)
        ]
    base = results[0].p50_ms
    return Measurement([replace(r, ratio=base / r.p50_ms) for r in results], skipped, others)


@contextmanager
def _loaded(
    model: Model,
    engine: Engine,
    options: EngineOptions,
    image: NDArray[np.uint8],
    clock: Callable[[], float],
) -> Iterator[tuple[Segmenter, float]]:
    """Yield a segmenter and the seconds that it took to label ``image``; close it at the end."""
    wanted = replace(options, backend=engine.backend, precision=engine.precision)
    with closing(Segmenter(model, wanted)) as segmenter:
        started = clock()
        _times(segmenter, image)
        yield segmenter, clock() - started


def _times(segmenter: Segmenter, image: NDArray[np.uint8]) -> StageTimes:
    return segmenter.segment_batch([image] * segmenter.batch_size)[0].times


def _result(
    engine: Engine, segmenter: Segmenter, times: Sequence[StageTimes], gmacs: float
) -> Result:
    p50, p95, p99 = np.percentile([each.inference_ms for each in times], (50, 95, 99)).tolist()
    stages_ms = StageTimes(*np.median([astuple(each) for each in times], axis=0).tolist())
    return Result(
        engine=engine,
        device=segmenter.backend.device,
        resolution=segmenter.resolution,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        fps=1e3 * segmenter.batch_size / p50,
        ratio=None,
        stages_ms=stages_ms,
        frames=len(times),
        gmacs_per_s=gmacs * segmenter.batch_size * 1e3 / p50,
    )
