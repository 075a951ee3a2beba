"""A training run and its output folder: checkpoint, logs, model file, scores and plots."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bisenet_ros.datasets import Dataset, raise_if_problems
from bisenet_ros.datasets.report import check_dataset
from bisenet_ros.errors import CheckpointError, ModelFileError, SettingsError
from bisenet_ros.evaluation.evaluate import score
from bisenet_ros.evaluation.metrics import Scores
from bisenet_ros.evaluation.plots import plot_confusion
from bisenet_ros.images.files import is_image_file
from bisenet_ros.model.file import Model, has_weights_of, load, save, update_metadata
from bisenet_ros.model.metadata import Metadata
from bisenet_ros.network import BiSeNetV2
from bisenet_ros.training.checkpoint import Checkpoint, previous_path, resume_from
from bisenet_ros.training.curves import plot_curves
from bisenet_ros.training.distributed import DistributedContext
from bisenet_ros.training.initialization import InitialModel
from bisenet_ros.training.loop import Progress, TrainingOutcome, train
from bisenet_ros.training.run_logger import RunLogger, import_summary_writer
from bisenet_ros.training.settings import Settings
from bisenet_ros.training.train_dataset import TrainDataset
from bisenet_ros.training.trainer import resolve_precision

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
VALIDATIONS = 10
"""Number of validations in a run; the last one is at its end."""
SELECTED = "selected"
"""Key of the recipe in the best model file: how it was selected."""
SCORED = 500
"""Maximum number of training images to score the result on without validation data."""


class Run:
    """A training run with its checkpoints and logs in one folder.

    A context manager: on rank 0 the logs are open within the context.

    Args:
        folder: Output folder; created on entering the context.
        dataset: Training samples.
        settings: Settings of the run.
        start: Initial model.
        processes: This process and its peers.
        resume: Whether to continue from the checkpoint in ``folder``.
        tensorboard: Whether to write TensorBoard event files into ``folder`` as well.

    Attributes:
        checkpoint_path: Path of the checkpoint.
        settings: Settings with ``precision`` resolved.
        before: Checkpoint to continue from, or None.
        log: Logger of the run, within the context on rank 0; else None.

    Raises:
        CheckpointError: ``resume`` is set and ``folder`` has no checkpoint of this run.
        SettingsError: See ``TrainDataset``.
        TrainingError: ``tensorboard`` is set, but TensorBoard cannot be imported.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Dataset,
        settings: Settings,
        start: InitialModel,
        processes: DistributedContext,
        *,
        resume: bool,
        tensorboard: bool = False,
    ) -> None:
        # Fail now, not after minutes of checks.
        TrainDataset(dataset, settings)
        if tensorboard:
            import_summary_writer()
        self.folder = folder
        self.dataset = dataset
        self.start = start
        self.processes = processes
        self.checkpoint_path = folder / CHECKPOINT
        self.settings = resolve_precision(settings, processes)
        self.before: Checkpoint | None = None
        self.log: RunLogger | None = None
        self._tensorboard = tensorboard
        if resume:
            fingerprint = start.fingerprint(dataset, processes)
            self.before = resume_from(self.checkpoint_path, self.settings, fingerprint, processes)
            if self.was_finished:
                # No iteration is left to run in another precision.
                self.settings = self.before.settings

    @property
    def was_finished(self) -> bool:
        """Whether all iterations were completed before this object was created."""
        return self.before is not None and self.before.iteration == self.settings.iterations

    def __enter__(self) -> "Run":
        if self.processes.rank == 0:
            done = self.before.iteration if self.before else 0
            names = [entry.name for entry in self.dataset.classes]
            self.log = RunLogger(
                self.folder, self.settings, names, done, tensorboard=self._tensorboard
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self.log is not None:
            self.log.close()
            self.log = None

    def train(
        self,
        stop: Callable[[], bool],
        report: Callable[[int, BiSeNetV2], Any] = lambda iteration, network: None,
    ) -> TrainingOutcome:
        """Run the remaining iterations and log them.

        Args:
            stop: Returns True to stop the run, see ``loop.train``.
            report: Called on rank 0 after each iteration with its number and the result so far.

        Raises:
            TrainingError, DatasetError: See ``loop.train``.
        """

        def log_and_report(progress: Progress, network: BiSeNetV2) -> None:
            if self.log is not None:
                self.log.show(progress)
            report(progress.iteration, network)

        return train(
            self.dataset,
            self.settings,
            self.checkpoint_path,
            log_and_report,
            resume=self.before,
            start=self.start,
            processes=self.processes,
            stop=stop,
        )


@dataclass(frozen=True)
class ModelTraining:
    """A run that also writes, scores and plots its result.

    Attributes:
        run: The run; its folder also receives model.safetensors, curves.png and confusion_*.png,
            and with ``keep_best`` best.safetensors.
        dataset_name: Name of the dataset to store in the model file.
        license: License of the weights to store in the model file.
        validation: Images with the classes of the training data to score the result on; they do
            not influence training.
    """

    run: Run
    dataset_name: str
    license: str = ""
    validation: Dataset | None = None

    @property
    def model_file(self) -> Path:
        """Path of the model file, written at each checkpoint and at the end."""
        return self.run.folder / "model.safetensors"

    @property
    def best_file(self) -> Path:
        """Path of the model file with the best score on ``validation``."""
        return self.run.folder / "best.safetensors"

    def finish(self, stop: Callable[[], bool]) -> TrainingOutcome:
        """Run the remaining iterations, then write, score and plot the result.

        ``stopped`` of the outcome is also True if ``stop`` returned True during scoring.

        Raises:
            CheckpointError: The run is new, but its folder has a checkpoint or a model file.
            SettingsError: ``keep_best`` is set without ``validation``.
            DatasetError: An image or its labels cannot be used.
            TrainingError: See ``loop.train``.
        """
        run = self.run
        if run.settings.keep_best and self.validation is None:
            raise SettingsError(
                "setting 'keep_best' is true, but there are no images to score: add --val-data"
            )
        if run.before is None:
            self._require_new()
        recipe = self._recipe()
        if run.processes.rank == 0 and not run.was_finished:
            _check("training", run.dataset)
            if self.validation is not None:
                _check("validation", self.validation)
        with run:
            log = run.log
            if log is None:  # only rank 0 writes and scores
                return run.train(stop)

            def report(iteration: int, network: BiSeNetV2) -> None:
                images = self.validation if self._due(iteration) else None
                if images is None and iteration % run.settings.checkpoint_every:
                    return
                log.flush()
                self._export(self.model_file, network, recipe)
                if images is not None:
                    model, every = load(self.model_file), range(len(images))
                    scores = score(model, images, every, run.processes.device, stop)
                    if scores is not None:  # None if stopped: the run ends after this iteration
                        log.validated(iteration, scores)
                        log.flush()
                        self._keep_best(iteration, scores, network, recipe)

            outcome = run.train(stop, report)
            if outcome.stopped:
                return outcome
            log.end_bar()
            # The model file of a finished run may have been calibrated since: do not rewrite it.
            stored = self._stored(outcome.network) if run.was_finished else None
            if stored is None:
                self._export(self.model_file, outcome.network, recipe)
                print(f"wrote {self.model_file}")
            else:
                self._name_again(stored)
            scores = self._conclude(log, stop)
            if scores is not None:
                self._keep_best(outcome.iteration, scores, outcome.network, recipe)
        return replace(outcome, stopped=scores is None)

    def _require_new(self) -> None:
        """Raise CheckpointError if the run's folder has a checkpoint or a model file."""
        checkpoint = self.run.checkpoint_path
        for kept in (checkpoint, previous_path(checkpoint), self.model_file, self.best_file):
            if kept.exists():
                raise CheckpointError(
                    f"{kept} already exists: continue with --resume, or train into another folder"
                )

    def _due(self, iteration: int) -> bool:
        """Return whether to score the validation images now; the end always scores them."""
        total = self.run.settings.iterations
        return iteration < total and (iteration * VALIDATIONS) % total < VALIDATIONS

    def _stored(self, network: BiSeNetV2) -> Model | None:
        """Return the stored model if the model file has these weights, else None."""
        try:
            model = load(self.model_file)
        except ModelFileError:
            return None
        return model if has_weights_of(model, network) else None

    def _name_again(self, model: Model) -> None:
        """Update the dataset name and license in the model file of a finished run."""
        if (model.metadata.dataset, model.metadata.license) == (self.dataset_name, self.license):
            return

        def named(metadata: Metadata) -> Metadata:
            return replace(metadata, dataset=self.dataset_name, license=self.license)

        update_metadata(self.model_file, model, named)
        print(f"updated dataset name and license in {self.model_file}")

    def _recipe(self) -> dict[str, Any]:
        """Return plain values describing how the weights were trained."""
        # --init keeps the architecture of its model, so record that instead of the settings'.
        run = self.run
        recipe = asdict(run.settings) | {
            "processes": run.processes.size,
            "preset": run.start.preset,
            "head_channels": run.start.network.architecture.head_channels,
            "torch": str(torch.__version__),
        }
        if run.before is not None and run.before.changes:
            recipe["resumed"] = list(run.before.changes)
        if run.start.recipe is not None:
            recipe["init"] = dict(run.start.recipe)
        return recipe

    def _keep_best(
        self, iteration: int, scores: Scores, network: BiSeNetV2, recipe: Mapping[str, Any]
    ) -> None:
        """Write ``network`` as the best model file if its score is higher than that of the file."""
        if not self.run.settings.keep_best or not scores.miou > self._best_miou():
            return
        selected = {
            "by": "highest mIoU on the validation images, which this score therefore flatters",
            "iteration": iteration,
            "miou": scores.miou,
        }
        self._export(self.best_file, network, {**recipe, SELECTED: selected})
        logger.info(
            "iteration %d has the best validation score so far, %.2f%% mIoU: wrote %s",
            iteration,
            100 * scores.miou,
            self.best_file,
        )

    def _best_miou(self) -> float:
        """Return the validation mIoU of the best model file; -1 without one."""
        try:
            recipe = load(self.best_file).metadata.recipe
        except ModelFileError:
            return -1.0
        return float(recipe.get(SELECTED, {}).get("miou", -1))

    def _export(self, path: Path, network: BiSeNetV2, recipe: dict[str, Any]) -> None:
        metadata = Metadata(
            preset=self.run.start.preset,
            architecture=network.architecture,
            classes=self.run.dataset.classes,
            mean=self.run.start.mean,
            std=self.run.start.std,
            resolution=self.run.settings.resolution,
            dataset=self.dataset_name,
            license=self.license,
            recipe=recipe,
        )
        save(path, network, metadata)

    def _conclude(self, log: RunLogger, stop: Callable[[], bool]) -> Scores | None:
        """Score the result and write the plots; return None if stopped while scoring."""
        run = self.run
        which, data = ("val", self.validation) if self.validation else ("train", run.dataset)
        scored = range(0, len(data), 1 if self.validation else ceil(len(data) / SCORED))
        scores = score(load(self.model_file), data, scored, run.processes.device, stop)
        if scores is None:
            return None
        if self.validation and not log.has_validated(run.settings.iterations):
            log.validated(run.settings.iterations, scores)
        log.flush()
        plot_curves(run.folder, run.folder / "curves.png", data.classes)
        names = [entry.name for entry in data.classes]
        plot_confusion(scores.confusion, names, run.folder / f"confusion_{which}.png")
        print(f"{scores.miou:.2%} mIoU on {len(scored)} {which} images")
        return scores


def _check(purpose: str, dataset: Dataset) -> None:
    """Log how many images and which classes a dataset has, after reading every file.

    This takes less time than an epoch, and finds what would fail hours later or not at all.

    Raises:
        DatasetError: A file cannot be used, or there is nothing to learn.
    """
    folders = {image.parent for image, _ in dataset.pairs}
    found = sum(map(is_image_file, (path for folder in folders for path in folder.iterdir())))
    logger.info(
        "%s on %d of %d images in %s, after reading them all; %d classes: %s",
        purpose,
        len(dataset),
        found,
        os.path.commonpath(folders) if folders else dataset.root,
        len(dataset.classes),
        ", ".join(entry.name for entry in dataset.classes),
    )
    with tqdm(total=len(dataset), desc="check", unit="image", leave=False, disable=None) as bar:
        report = check_dataset(dataset, bar.update)
    raise_if_problems(report.problems)
    absent = [entry.name for entry in dataset.classes if not report.images_with[entry.id]]
    if absent:
        logger.warning("classes in no %s image: %s", purpose, ", ".join(absent))
