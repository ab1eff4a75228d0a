"""Training a network of any task: its head on a frozen backbone first, then the whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

from edgevision.backends import import_backend
from edgevision.errors import BackendUnavailableError, EdgeVisionError
from edgevision.models.registry import configure, default_contract, get_spec
from edgevision.specs import Task
from edgevision.training.checkpoints import RunState
from edgevision.training.classify import ClassifyJob
from edgevision.training.config import TrainingOptions, plan_training
from edgevision.training.curves import draw_curves
from edgevision.training.dataset import DataOptions, read_training_data
from edgevision.training.detect import DetectJob
from edgevision.training.events import EventCallback, Phase
from edgevision.training.fit import PhasePlan, run_phase
from edgevision.training.job import Job, Stage
from edgevision.training.learner import Learner
from edgevision.training.network import training_precision
from edgevision.training.results import (
    TrainingResult,
    describe_skipped,
    make_result,
    repeat_result,
)
from edgevision.training.runs import RunFolder, RunStatus, check_outside, check_repeats, open_run
from edgevision.training.schedules import plan_cosine
from edgevision.training.segment import SegmentJob

_JOBS: Mapping[Task, type[Job]] = {
    Task.CLASSIFY: ClassifyJob,
    Task.DETECT: DetectJob,
    Task.SEGMENT: SegmentJob,
}


def train(
    name: str,
    *,
    data: str | Path,
    output: str | Path,
    val_data: str | Path | None = None,
    resume: bool = False,
    skip_broken: bool = False,
    threads: int | None = None,
    on_event: EventCallback | None = None,
    **options: Unpack[TrainingOptions],
) -> TrainingResult:
    """Train a network of the zoo: a classifier, a detector or a segmenter.

    With ``weights`` the new head is trained first on the frozen backbone, then the whole network
    is fine-tuned; without, everything is trained from the start. The best epoch by the validation
    metric (accuracy, mAP at an IoU of 0.5, or mean IoU; then by loss) is the result. Each epoch
    ends in a checkpoint; after a kill, ``resume=True`` with the same arguments goes on, and the
    result is that of an uninterrupted run. Ctrl-C ends training early: the best model so far is
    written and returned with the status ``interrupted``.

    Args:
        name: A name from ``list_models``.
        data: For a classifier, class folders or a folder with ``labels.csv``; for a detector, what
            ``read_boxes`` takes (Pascal VOC, COCO, generated scenes); for a segmenter, what
            ``read_masks`` takes. Where these have parts of their own, ``train`` is taken.
        output: The run folder: ``model.keras``, ``run.json``, ``history.csv``, ``curves.png``,
            ``labels.txt`` and ``checkpoints``.
        val_data: Validation data with the same labels; otherwise the ``val`` part of ``data``
            where it has one, or else ``val_fraction`` is held out.
        resume: Go on with the run in ``output``; begins one where there is none.
        skip_broken: Leave unreadable images out instead of failing.
        threads: Threads for decoding and, unless TensorFlow is running already, for computing.
        on_event: Called with a ``TrainingEvent`` several times a second.
        **options: The fields of ``TrainingConfig``.

    Raises:
        InvalidConfigError: An option is out of range, belongs to another task, or differs from
            the run that is resumed.
        DataError: Images or labels are missing, broken or contradict each other.
        MissingFileError: A folder or file does not exist.
        OutputError: The folder is taken, lies among the images or can not be written; finished
            epochs are kept.
        InvalidModelError: The weights do not fit.
        BackendUnavailableError: TensorFlow is not installed.
    """
    task = get_spec(name).task
    config = plan_training(task, name, options)
    configure(name, alpha=config.alpha, input_size=config.input_size, dropout=config.dropout)
    check_outside(output, data, *(() if val_data is None else (val_data,)))
    with open_run(output, resume=resume) as run:
        source = DataOptions(
            folder=data,
            val_folder=val_data,
            val_fraction=config.val_fraction,
            seed=config.seed,
            ignore_index=config.ignore_index,
            skip_broken=skip_broken,
        )
        images = read_training_data(task, source)
        about = images.describe() | {"folder": str(data), "val_folder": str(val_data or "")}
        if run.record:
            check_repeats(run, config, about)
            if run.record["status"] is RunStatus.FINISHED:
                return repeat_result(run, images)
        _limit_threads(threads)
        run.begin(config, about)
        contract = default_contract(name, labels=images.labels, input_size=config.input_size)
        job = _JOBS[task](config, images, contract, report=on_event)
        return _Training(job, run, threads).run()


class _Training:
    """One call of ``train`` on an open run folder."""

    def __init__(self, job: Job, run: RunFolder, threads: int | None) -> None:
        self.job, self.folder, self.threads = job, run, threads
        self.config, self.data, self.report = job.config, job.data, job.report
        self.started = time.monotonic()
        first = Phase.HEAD if self.config.has_head_phase else Phase.FINE_TUNE
        self.state = RunState(phase=first, metric=job.metric)
        self.arrays: dict[str, list[Any]] = {}
        self.resumed_from = ""

    def run(self) -> TrainingResult:
        """Train, and write the results however it ends."""
        status = RunStatus.FINISHED
        try:
            self._restore()
            self._train()
        except KeyboardInterrupt:
            status = RunStatus.INTERRUPTED
            if self.state.best_row < 0:
                self._conclude(status)
                raise
        except Exception:
            self._conclude(RunStatus.FAILED)
            raise
        return self._finish(status)

    def _restore(self) -> None:
        checkpoints = self.folder.checkpoints
        if checkpoints.exists():
            self.state, self.arrays = checkpoints.load()
            self.resumed_from = f"{self.state.phase.value}, epoch {self.state.epoch}"

    def _train(self) -> None:
        self.folder.checkpoints.folder.mkdir(exist_ok=True)
        in_head = self.state.phase is Phase.HEAD
        with training_precision():
            # Built first: a weights file that does not fit is told before minutes of decoding.
            self.job.build(load_weights=in_head or not self.arrays)
            self.job.load(self.folder.path, self.threads)
            if in_head:
                self._train_head()
            self._fine_tune()

    def _train_head(self) -> None:
        config = self.config
        stage = self.job.plan_head(self.folder.checkpoints.folder)
        self._restore_learner(stage.learner)
        plan = self._plan(Phase.HEAD, stage, epochs=config.head_epochs, peak=config.learning_rate)
        run_phase(plan, stage.learner, state=self.state, run=self.folder, report=self.report)
        self._enter_fine_tuning()
        stage.clear()

    def _enter_fine_tuning(self) -> None:
        """Carry the best head over into the whole network, and make that the checkpoint."""
        self.state.enter(Phase.FINE_TUNE)
        self.folder.checkpoints.save_best(self.state, self.job.list_weights())
        learner = self.job.plan_network().learner
        self.arrays = learner.state()
        self.folder.checkpoints.save(self.state, self.arrays)

    def _fine_tune(self) -> None:
        if not self.config.epochs:
            return
        stage = self.job.plan_network()
        self._restore_learner(stage.learner)
        peak = self.config.peak_learning_rate
        plan = self._plan(Phase.FINE_TUNE, stage, epochs=self.config.epochs, peak=peak)
        run_phase(plan, stage.learner, state=self.state, run=self.folder, report=self.report)

    def _restore_learner(self, learner: Learner) -> None:
        if self.arrays:
            learner.restore(self.arrays)
            self.arrays = {}

    def _plan(self, phase: Phase, stage: Stage, *, epochs: int, peak: float) -> PhasePlan:
        config = self.config
        return PhasePlan(
            phase=phase,
            epochs=epochs,
            steps=stage.steps,
            schedule=plan_cosine(
                peak, steps=stage.steps * epochs, warmup_fraction=config.warmup_fraction
            ),
            early_stopping=config.early_stopping,
            seed=config.seed,
            batches=stage.batches,
            val_batches=stage.val_batches,
        )

    def _conclude(self, status: RunStatus) -> None:
        """Note how the run ended; what stops the run may stop this as well."""
        with suppress(EdgeVisionError):
            self.folder.conclude(status)

    def _finish(self, status: RunStatus) -> TrainingResult:
        weights = self.folder.checkpoints.load_best(self.state)
        if self.state.phase is Phase.HEAD:
            weights = self.job.complete_weights(weights)
        self.job.save(weights, self.folder.model_path)
        notes = (*describe_skipped(self.data), *self._draw_curves())
        result = make_result(
            self.folder,
            self.state,
            self.data,
            status=status,
            resumed_from=self.resumed_from,
            seconds=time.monotonic() - self.started,
            notes=notes,
        )
        self.folder.conclude(status, result=result.to_dict())
        return result

    def _draw_curves(self) -> tuple[str, ...]:
        try:
            draw_curves(self.state.history, self.folder.curves_path)
        except BackendUnavailableError as error:
            return (f"no curves.png: {error}",)
        return ()


def _limit_threads(threads: int | None) -> None:
    if threads is None:
        return
    tf = import_backend("tensorflow")
    # TensorFlow refuses this once it has run something; it then keeps the threads it has.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
