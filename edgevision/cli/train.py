"""``edgevision train``: photos become a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevision.cli.command import EXIT_DONE, EXIT_INTERRUPTED, command
from edgevision.cli.options import Alpha, InputSize, Output, SkipBroken, parse_size
from edgevision.cli.terminal import Terminal, create_bars, create_table
from edgevision.specs import Task, Upsampling
from edgevision.training.config import BoxLoss, TrainingConfig, plan_training

if TYPE_CHECKING:
    from edgevision.training.events import EventCallback, TrainingEvent


# What --help shows is what training does: the defaults are those of its own configuration.
DEFAULTS = TrainingConfig(name="")
_DETECT, _SEGMENT = (plan_training(task, "", {}) for task in (Task.DETECT, Task.SEGMENT))


Name = Annotated[str, typer.Argument(help="A name from `edgevision models`.")]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Class folders, or boxes (Pascal VOC, COCO), or images with masks, as the network "
        "needs; its own train and val parts are used where it has them.",
    ),
]
ValData = Annotated[
    Path | None,
    typer.Option("--val-data", help="Validation data; else a share of --data is held out."),
]
ValFraction = Annotated[
    float, typer.Option("--val-fraction", help="Share held out without --val-data.")
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        help="Start from none, imagenet, or a .keras or .h5 file; a classifier's backbone serves "
        "detectors and segmenters.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help=f"Passes over the data with the whole network; {DEFAULTS.epochs} for classifiers, "
        f"{_DETECT.epochs} for detectors, {_SEGMENT.epochs} for segmenters; 0 keeps the backbone "
        "frozen.",
    ),
]
HeadEpochs = Annotated[
    int | None,
    typer.Option(
        "--head-epochs",
        help="Passes that train the new head alone, first, on a frozen backbone; "
        f"{DEFAULTS.head_epochs} for classifiers, {_DETECT.head_epochs} for the others.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help=f"Images per step; {DEFAULTS.batch_size} for classifiers, {_DETECT.batch_size} for "
        f"detectors, {_SEGMENT.batch_size} for segmenters.",
    ),
]
LearningRate = Annotated[
    float | None, typer.Option("--learning-rate", help="Peak of the head's schedule.")
]
FineTuneLearningRate = Annotated[
    float | None,
    typer.Option(
        "--fine-tune-learning-rate",
        help="Peak for the whole network; for classifiers 0.0001 with --weights, 0.02 without.",
    ),
]
Dropout = Annotated[
    float | None, typer.Option("--dropout", help="Dropout rate before a classifier's head.")
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option("--label-smoothing", help="Share of a classifier's target spread evenly."),
]
Mixup = Annotated[
    float | None, typer.Option("--mixup", help="Beta parameter of a classifier's mixup; 0 is off.")
]
ClassWeights = Annotated[
    bool, typer.Option("--class-weights", help="Make rare classes count more; not for detectors.")
]
Augment = Annotated[
    bool, typer.Option("--augment/--no-augment", help="Vary the training images at random.")
]
Flip = Annotated[
    bool, typer.Option("--flip/--no-flip", help="Mirror images; not for text and signs.")
]
EarlyStopping = Annotated[
    int | None, typer.Option("--early-stopping", help="Epochs without progress to stop; 0 never.")
]
BoxLossOption = Annotated[
    BoxLoss | None,
    typer.Option("--box-loss", help="How a detector keeps background from outweighing objects."),
]
UpsamplingOption = Annotated[
    Upsampling | None,
    typer.Option("--upsampling", help="How a segmenter's decoder doubles the resolution."),
]
DiceWeight = Annotated[
    float | None,
    typer.Option("--dice-weight", help="Of a segmenter's Dice loss beside the cross entropy."),
]
IgnoreIndex = Annotated[
    int | None,
    typer.Option("--ignore-index", help="Value of a segmenter's masks that counts as no class."),
]
Seed = Annotated[int, typer.Option("--seed", help="Decides everything random.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "train", panel="Choose and build")(train_network)


def train_network(
    terminal: Terminal,
    *,
    name: Name,
    data: Data,
    output: Output,
    val_data: ValData = None,
    val_fraction: ValFraction = DEFAULTS.val_fraction,
    weights: Weights = "none",
    alpha: Alpha = 1.0,
    input_size: InputSize = None,
    epochs: Epochs = None,
    head_epochs: HeadEpochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    fine_tune_learning_rate: FineTuneLearningRate = None,
    dropout: Dropout = None,
    label_smoothing: LabelSmoothing = None,
    mixup: Mixup = None,
    class_weights: ClassWeights = False,
    augment: Augment = DEFAULTS.augment,
    flip: Flip = DEFAULTS.flip,
    early_stopping: EarlyStopping = None,
    box_loss: BoxLossOption = None,
    upsampling: UpsamplingOption = None,
    dice_weight: DiceWeight = None,
    ignore_index: IgnoreIndex = None,
    seed: Seed = DEFAULTS.seed,
    resume: Resume = False,
    skip_broken: SkipBroken = False,
) -> int:
    """Train a classifier, detector or segmenter; the best weights are kept."""
    from edgevision.training.train import train

    chosen = {
        "epochs": epochs,
        "head_epochs": head_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "fine_tune_learning_rate": fine_tune_learning_rate,
        "dropout": dropout,
        "label_smoothing": label_smoothing,
        "mixup": mixup,
        "class_weights": class_weights or None,
        "early_stopping": early_stopping,
        "box_loss": box_loss,
        "upsampling": upsampling,
        "dice_weight": dice_weight,
        "ignore_index": ignore_index,
    }
    options: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    with draw_training(terminal) as on_event:
        result = train(
            name,
            data=data,
            output=output,
            val_data=val_data,
            resume=resume,
            skip_broken=skip_broken,
            on_event=on_event,
            val_fraction=val_fraction,
            weights=None if weights == "none" else weights,
            alpha=alpha,
            input_size=parse_size(input_size),
            augment=augment,
            flip=flip,
            seed=seed,
            **options,
        )
    for text in result.notes:
        terminal.note(text)
    if result.interrupted:
        terminal.note("the best model so far is kept; the same command with --resume goes on")
    document = result.to_dict()
    terminal.finish(document, lambda console: _render(console, document))
    return EXIT_INTERRUPTED if result.interrupted else EXIT_DONE


@contextmanager
def draw_training(terminal: Terminal) -> Iterator[EventCallback]:
    """Yield a callback that draws a training run: a bar per phase, a line per epoch."""
    if terminal.quiet:
        yield lambda _event: None
        return
    if not terminal.err.is_terminal:
        yield lambda event: _log_epoch(terminal, event)
        return
    with create_bars(terminal.err, "{task.fields[speed]}", "{task.fields[note]}") as bars:
        tasks: dict[str, Any] = {}

        def draw(event: TrainingEvent) -> None:
            phase = str(event.phase)
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=None, speed="", note="")
            speed = f"{event.images_per_second:.0f} images/s" if event.images_per_second else ""
            done = (event.epoch - 1) * event.steps + event.step
            total = event.epochs * event.steps
            bars.update(tasks[phase], completed=done, total=total, speed=speed)
            if event.metrics:
                bars.update(tasks[phase], note=_summarize(event))

        yield draw


def _log_epoch(terminal: Terminal, event: TrainingEvent) -> None:
    """Write one line per finished epoch where no bar can be drawn."""
    if event.metrics:
        terminal.note(f"{event.phase}: {_summarize(event)}")


_SHOWN = ("loss", "val_accuracy", "val_map50", "val_mean_iou")


def _summarize(event: TrainingEvent) -> str:
    shown = [f"{k} {v:.3f}" for k, v in event.metrics.items() if k in _SHOWN]
    return f"epoch {event.epoch}/{event.epochs}: {', '.join(shown)}"


def _render(console: Any, document: dict[str, Any]) -> None:
    table = create_table("run", "epochs", *document["metrics"])
    values = [f"{value:.4f}" for value in document["metrics"].values()]
    table.add_row(document["run_dir"], str(document["epochs"]), *values)
    console.print(table)
    console.print(f"next: edgevision convert {document['model']} -o model.tflite")
