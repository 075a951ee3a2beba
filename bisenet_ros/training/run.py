"""A training run in its folder: model file, checkpoint, logs, scores and pictures."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch

from bisenet_ros.datasets import Dataset, raise_if_problems
from bisenet_ros.datasets.report import check_dataset
from bisenet_ros.errors import CheckpointError, ModelFileError
from bisenet_ros.evaluation.evaluate import score
from bisenet_ros.evaluation.plots import plot_confusion
from bisenet_ros.model.file import Model, has_weights_of, load, save, update_metadata
from bisenet_ros.model.metadata import Metadata
from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.checkpoint import previous_path, resume_from
from bisenet_ros.training.curves import plot_curves
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.initialization import InitialModel
from bisenet_ros.training.loop import Progress, train
from bisenet_ros.training.run_logger import RunLogger
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.trainer import resolve_precision

logger = logging.getLogger(__name__)

VALIDATIONS = 10
"""As often a run scores the validation images, the last time at its end."""
SCORED = 500
"""Training images, at most, that the result is scored on where there are no others."""


@dataclass(frozen=True)
class Run:
    """What is trained on what, and where it is kept.

    - ``folder``: gets model.safetensors, checkpoint.pt, log.csv, curves.png and the like.
    - ``dataset_name``, ``license``: stored in the model file.
    - ``validation``: images with the classes of ``dataset``, to score; they change nothing.
    """

    folder: Path
    dataset: Dataset
    settings: Settings
    start: InitialModel
    dataset_name: str
    license: str = ""
    validation: Dataset | None = None

    @property
    def model_file(self) -> Path:
        """Where the result is, written at each checkpoint and at the end."""
        return self.folder / "model.safetensors"

    def finish(
        self,
        processes: DistributedContext,
        stop: Callable[[], bool],
        *,
        resume: bool = False,
        tensorboard: bool = False,
    ) -> None:
        """Train what is left of it, from the checkpoint with ``resume``, then score and draw.

        Raises:
            CheckpointError: there is one, or a result, without ``resume``, or none of this run
                with it.
            KeyboardInterrupt: ``stop`` became true for one of the processes; it can be resumed.
            TrainingError, DatasetError: see ``train``.
        """
        checkpoint = self.folder / "checkpoint.pt"
        for kept in (checkpoint, previous_path(checkpoint), self.model_file):
            if kept.exists() and not resume:
                raise CheckpointError(
                    f"{kept} is there already: go on with --resume, or train into another folder"
                )
        fingerprint = self.start.fingerprint(self.dataset, processes)
        settings = resolve_precision(self.settings, processes)
        before = resume_from(checkpoint, settings, fingerprint, processes) if resume else None
        if before is not None and before.iteration == settings.iterations:
            settings = before.settings  # nothing is left to compute in another precision
        recipe = self._recipe(settings, processes, before.changes if before else ())
        with ExitStack() as stack:
            if processes.rank == 0:
                if self.validation is not None:
                    logger.info(
                        "reading all validation images, to find faults before hours are lost"
                    )
                    raise_if_problems(check_dataset(self.validation).problems)
                done = before.iteration if before else 0
                names = [entry.name for entry in self.dataset.classes]
                monitor = stack.enter_context(
                    RunLogger(self.folder, self.settings, names, done, tensorboard=tensorboard)
                )

            def report(progress: Progress, network: BiSeNetV2) -> None:
                """On rank 0 alone."""
                monitor.show(progress)
                now = progress.iteration
                images = self.validation if self._due(now) else None
                if images is None and now % self.settings.checkpoint_every:
                    return
                monitor.flush()
                self._export(network, recipe)
                if images is not None:
                    # All processes stop together, when they are asked after this iteration.
                    with suppress(KeyboardInterrupt):
                        model, every = load(self.model_file), range(len(images))
                        scores = score(model, images, every, processes.device, stop)
                        monitor.validated(now, scores)
                        monitor.flush()

            network = train(
                self.dataset,
                settings,
                checkpoint,
                report,
                resume=before,
                start=self.start,
                processes=processes,
                stop=stop,
            )
            if processes.rank == 0:
                monitor.end_bar()
                # Of a run that was finished before, the file may have been calibrated since.
                stored = self._stored(network) if done == self.settings.iterations else None
                if stored is None:
                    self._export(network, recipe)
                    print(f"wrote {self.model_file}")
                else:
                    self._name_again(stored)
                self._conclude(monitor, processes.device, stop)

    def _due(self, iteration: int) -> bool:
        """Whether the validation images are scored now; those after the last are scored later."""
        total = self.settings.iterations
        return iteration < total and (iteration * VALIDATIONS) % total < VALIDATIONS

    def _stored(self, network: BiSeNetV2) -> Model | None:
        """What is in the model file, if it has these weights."""
        try:
            model = load(self.model_file)
        except ModelFileError:
            return None
        return model if has_weights_of(model, network) else None

    def _name_again(self, model: Model) -> None:
        """Give the finished model file what this call says of its data and license."""
        if (model.metadata.dataset, model.metadata.license) == (self.dataset_name, self.license):
            return

        def named(metadata: Metadata) -> Metadata:
            return replace(metadata, dataset=self.dataset_name, license=self.license)

        update_metadata(self.model_file, model, named)
        print(f"wrote data set and license into {self.model_file}")

    def _recipe(
        self, settings: Settings, processes: DistributedContext, changes: tuple[str, ...]
    ) -> dict[str, Any]:
        """How the weights came about, in plain values; ``changes``: see ``Checkpoint``."""
        # The architecture of --init stays, whatever the settings say.
        recipe = asdict(settings) | {
            "processes": processes.size,
            "preset": self.start.preset,
            "head_channels": self.start.network.architecture.head_channels,
            "torch": str(torch.__version__),
        }
        if changes:
            recipe["resumed"] = list(changes)
        if self.start.recipe is not None:
            recipe["init"] = dict(self.start.recipe)
        return recipe

    def _export(self, network: BiSeNetV2, recipe: dict[str, Any]) -> None:
        metadata = Metadata(
            preset=self.start.preset,
            architecture=network.architecture,
            classes=self.dataset.classes,
            mean=self.start.mean,
            std=self.start.std,
            resolution=self.settings.resolution,
            dataset=self.dataset_name,
            license=self.license,
            recipe=recipe,
        )
        save(self.model_file, network, metadata)

    def _conclude(self, monitor: RunLogger, device: str, stop: Callable[[], bool]) -> None:
        """Score the result and draw how it came about."""
        which, data = ("val", self.validation) if self.validation else ("train", self.dataset)
        scored = range(0, len(data), 1 if self.validation else ceil(len(data) / SCORED))
        scores = score(load(self.model_file), data, scored, device, stop)
        if self.validation and not monitor.has_validated(self.settings.iterations):
            monitor.validated(self.settings.iterations, scores)
        monitor.flush()
        plot_curves(self.folder, self.folder / "curves.png")
        names = [entry.name for entry in data.classes]
        plot_confusion(scores.confusion, names, self.folder / f"confusion_{which}.png")
        print(f"{scores.miou:.2%} mIoU on {len(scored)} {which} images")
