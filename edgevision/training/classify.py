"""Training a classifier: a frozen backbone's head first, then the whole network."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import BackendUnavailableError, EdgeVisionError
from edgevision.models.registry import configure, default_contract
from edgevision.training.checkpoints import RunState
from edgevision.training.config import TrainingConfig, TrainingOptions
from edgevision.training.curves import draw_curves
from edgevision.training.dataset import TrainingData, read_training_data
from edgevision.training.events import EventCallback, Phase
from edgevision.training.features import FeatureExtractor, extract_features
from edgevision.training.fit import PhasePlan, run_phase
from edgevision.training.learner import Learner, Objective
from edgevision.training.losses import balance_classes
from edgevision.training.network import Network, build_network, save_model, training_precision
from edgevision.training.results import (
    TrainingResult,
    describe_skipped,
    make_result,
    repeat_result,
)
from edgevision.training.runs import RunFolder, RunStatus, check_outside, check_repeats, open_run
from edgevision.training.schedules import plan_cosine
from edgevision.training.sources import ImageSource, load_source


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
    """Train a network of the zoo on labelled images.

    With ``weights`` the new head is trained first on features of the frozen backbone, then the
    whole network is fine-tuned; without, everything is trained from the start. The best epoch by
    validation accuracy (then loss) is the result. Each epoch ends in a checkpoint; after a kill,
    ``resume=True`` with the same arguments goes on, and the result is that of an uninterrupted
    run. Ctrl-C ends training early: the best model so far is written and returned with the status
    ``interrupted``.

    Args:
        name: A name from ``list_models("classify")``.
        data: Class folders, or a folder with ``labels.csv``.
        output: The run folder: ``model.keras``, ``run.json``, ``history.csv``, ``curves.png``,
            ``labels.txt`` and ``checkpoints``.
        val_data: Validation images with the same labels; otherwise ``val_fraction`` is held out.
        resume: Go on with the run in ``output``; begins one where there is none.
        skip_broken: Leave unreadable images out instead of failing.
        threads: Threads for decoding and, unless TensorFlow is running already, for computing.
        on_event: Called with a ``TrainingEvent`` several times a second.
        **options: The fields of ``TrainingConfig``.

    Raises:
        InvalidConfigError: An option is out of range, or differs from the run that is resumed.
        DataError: Images or labels are missing, broken or contradict each other.
        MissingFileError: A folder or file does not exist.
        OutputError: The folder is taken, lies among the images or can not be written; finished
            epochs are kept.
        InvalidModelError: The weights do not fit.
        BackendUnavailableError: TensorFlow is not installed.
    """
    config = TrainingConfig.from_dict({"name": name, **options})
    configure(name, alpha=config.alpha, input_size=config.input_size, dropout=config.dropout)
    check_outside(output, data, *(() if val_data is None else (val_data,)))
    with open_run(output, resume=resume) as run:
        images = read_training_data(
            data,
            val_folder=val_data,
            val_fraction=config.val_fraction,
            seed=config.seed,
            skip_broken=skip_broken,
        )
        about = images.describe() | {"folder": str(data), "val_folder": str(val_data or "")}
        if run.record:
            check_repeats(run, config, about)
            if run.record["status"] is RunStatus.FINISHED:
                return repeat_result(run, images)
        _limit_threads(threads)
        run.begin(config, about)
        return _Training(config, images, run, threads, on_event).run()


class _Training:
    """One call of ``train`` on an open run folder."""

    def __init__(
        self,
        config: TrainingConfig,
        data: TrainingData,
        run: RunFolder,
        threads: int | None,
        report: EventCallback | None,
    ) -> None:
        self.config, self.data, self.folder = config, data, run
        self.threads, self.report = threads, report
        self.contract = default_contract(config.name, labels=data.labels)
        self.size = configure(config.name, input_size=config.input_size).input_size
        self.started = time.monotonic()
        first = Phase.HEAD if config.has_head_phase else Phase.FINE_TUNE
        self.state = RunState(phase=first)
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
        source = load_source(
            self.config,
            self.data,
            preprocessing=self.contract.preprocessing,
            size=self.size,
            folder=self.folder.path,
            threads=self.threads,
            report=self.report,
        )
        in_head = self.state.phase is Phase.HEAD
        with training_precision():
            network = build_network(
                self.config, len(self.data.labels), load_weights=in_head or not self.arrays
            )
            if in_head:
                self._train_head(network, source)
            self._fine_tune(network, source)

    def _train_head(self, network: Network, source: ImageSource) -> None:
        folder = self.folder.checkpoints.folder
        extractor = FeatureExtractor(network.backbone, folder, self.report)
        features = extract_features(extractor, source)
        learner = network.head_learner(self._objective(mixup=0.0))
        self._restore_learner(learner)
        order, epochs = source.order, self.config.head_epochs
        plan = self._plan(
            Phase.HEAD,
            epochs=epochs,
            steps=order.steps,
            peak=self.config.learning_rate,
            batches=lambda start: features.train.stream(order, start, order.steps * epochs),
            val_batches=features.val.batches(),
        )
        run_phase(plan, learner, state=self.state, run=self.folder, report=self.report)
        self._enter_fine_tuning(network)
        extractor.remove_kept()

    def _enter_fine_tuning(self, network: Network) -> None:
        """Carry the best head over into the whole network, and make that the checkpoint."""
        self.state.enter(Phase.FINE_TUNE)
        self.folder.checkpoints.save_best(self.state, network.model.get_weights())
        learner = network.learner(self._objective(mixup=self.config.mixup))
        self.arrays = learner.state()
        self.folder.checkpoints.save(self.state, self.arrays)

    def _fine_tune(self, network: Network, source: ImageSource) -> None:
        learner = network.learner(self._objective(mixup=self.config.mixup))
        self._restore_learner(learner)
        plan = self._plan(
            Phase.FINE_TUNE,
            epochs=self.config.epochs,
            steps=source.order.steps,
            peak=self.config.peak_learning_rate,
            batches=source.stream_train,
            val_batches=source.stream_val(),
        )
        run_phase(plan, learner, state=self.state, run=self.folder, report=self.report)

    def _restore_learner(self, learner: Learner) -> None:
        if self.arrays:
            learner.restore(self.arrays)
            self.arrays = {}

    def _plan(self, phase: Phase, *, epochs: int, steps: int, peak: float, **io: Any) -> PhasePlan:
        config = self.config
        return PhasePlan(
            phase=phase,
            epochs=epochs,
            steps=steps,
            schedule=plan_cosine(
                peak, steps=steps * epochs, warmup_fraction=config.warmup_fraction
            ),
            early_stopping=config.early_stopping,
            seed=config.seed,
            **io,
        )

    def _objective(self, *, mixup: float) -> Objective:
        num_classes = len(self.data.labels)
        weights = np.ones(num_classes, np.float32)
        if self.config.class_weights:
            weights = balance_classes(self.data.train.targets, num_classes)
        return Objective(
            num_classes=num_classes,
            label_smoothing=self.config.label_smoothing,
            mixup=mixup,
            class_weights=tuple(weights.tolist()),
            weight_decay=self.config.weight_decay,
        )

    def _conclude(self, status: RunStatus) -> None:
        """Note how the run ended; what stops the run may stop this as well."""
        with suppress(EdgeVisionError):
            self.folder.conclude(status)

    def _finish(self, status: RunStatus) -> TrainingResult:
        weights = self.folder.checkpoints.load_best(self.state)
        if self.state.phase is Phase.HEAD:
            weights = self._complete_weights(weights)
        save_model(weights, self.folder.model_path, config=self.config, contract=self.contract)
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

    def _complete_weights(self, head_weights: list[Any]) -> list[Any]:
        """Join the weights of a head with those of the backbone that it was trained on."""
        network = build_network(self.config, len(self.data.labels), load_weights=True)
        network.head.set_weights(head_weights)
        return list(network.model.get_weights())

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
