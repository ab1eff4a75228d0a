"""The network in its training form: backbone and head, logits, and how BatchNorm behaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.contract import Contract
from edgevision.graph.contracts import write_contract
from edgevision.models.registry import backbone_layers, create_model, get_spec, head_layers
from edgevision.outputs import atomic_path
from edgevision.specs import Task
from edgevision.training.config import TrainingConfig

# From nothing: statistics of the last ten steps or so. The networks' own 0.99 and 0.999 would still
# be half their starting values after a few hundred steps, and validation would be garbage.
SCRATCH_MOMENTUM = 0.9
# From trained weights: slow enough to average, fast enough to follow within a few hundred steps.
FINE_TUNE_MOMENTUM = 0.99
# Smaller batches have statistics too noisy to learn from.
_MIN_STATISTICS_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A classifier split where its head begins.

    Attributes:
        model: Image to logits.
        backbone: Image to pooled features.
        head: Pooled features to logits; shares its layers with ``model``.
        frozen_statistics: Whether BatchNorm keeps the statistics it came with: where trained
            weights meet batches below 16. Larger batches let the statistics follow the new images.
            Scales and offsets are trained either way.
    """

    model: Any
    backbone: Any
    head: Any
    frozen_statistics: bool


def build_network(config: TrainingConfig, num_classes: int, *, load_weights: bool) -> Network:
    """Build the network that ``config`` names.

    Args:
        config: The options.
        num_classes: Outputs.
        load_weights: Whether to load ``config.weights``; not needed when a checkpoint follows.

    Raises:
        InvalidConfigError: Unknown network, or a choice out of range.
        InvalidModelError: The weights file does not fit.
    """
    keras = import_backend("keras")
    model = build_logits(config, num_classes, load_weights=load_weights)
    pooled = model.get_layer(head_layers(model)[0]).output
    return Network(
        model=model,
        backbone=keras.Model(model.inputs, pooled, name="backbone"),
        head=keras.Model(pooled, model.outputs[0], name="head"),
        frozen_statistics=config.weights is not None and config.batch_size < _MIN_STATISTICS_BATCH,
    )


def build_logits(config: TrainingConfig, num_classes: int, *, load_weights: bool) -> Any:
    """Build the network that ``config`` names as a Keras model whose scores are logits.

    Raises:
        InvalidConfigError: Unknown network, or a choice out of range.
        InvalidModelError: The weights file does not fit.
    """
    keras = import_backend("keras")
    keras.utils.set_random_seed(config.seed % 2**32)
    model = create_model(
        config.name,
        num_classes=num_classes,
        weights=config.weights if load_weights else None,
        classifier_activation=None,
        **_list_choices(config),
    )
    _limit_momentum(model, _choose_momentum(config))
    return model


def freeze_backbone(model: Any, frozen: bool) -> None:
    """Keep the backbone as it is, statistics included, or let it be trained."""
    names = set(backbone_layers(model))
    for layer in model.layers:
        if layer.name in names:
            layer.trainable = not frozen


@contextmanager
def training_precision() -> Iterator[None]:
    """Compute in half precision (with loss scaling) inside this block where there is a GPU."""
    tf, keras = import_backend("tensorflow"), import_backend("keras")
    before = keras.config.dtype_policy()
    if tf.config.list_physical_devices("GPU"):
        keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def save_model(
    weights: list[NDArray[Any]], path: Path, *, config: TrainingConfig, contract: Contract
) -> None:
    """Write a float32 model, ready for inference, its contract inside.

    Args:
        weights: Of the network as it was trained.
        path: The ``.keras`` file.
        config: The options that the network was built with.
        contract: Preprocessing and labels.

    Raises:
        OutputError: The place can not be written.
    """
    keras = import_backend("keras")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    num_classes = len(contract.labels)
    try:
        trained = build_logits(config, num_classes, load_weights=False)
        model = create_model(config.name, num_classes=num_classes, **_list_choices(config))
    finally:
        keras.config.set_dtype_policy(before)
    trained.set_weights(weights)
    # By name: what follows the logits changes the order in which Keras lists the layers.
    for layer in trained.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    with atomic_path(path) as temporary:
        model.save(temporary)
        write_contract(temporary, contract, temporary)


def _list_choices(config: TrainingConfig) -> dict[str, Any]:
    """Return what decides the network's shape, as ``create_model`` takes it."""
    choices: dict[str, Any] = {"alpha": config.alpha, "input_size": config.input_size}
    task = get_spec(config.name).task
    if task is Task.CLASSIFY:
        choices["dropout"] = config.head_dropout
    if task is Task.SEGMENT:
        choices["upsampling"] = config.upsampling
    return choices


def _choose_momentum(config: TrainingConfig) -> float:
    """Return how slowly statistics may follow.

    Detectors and segmenters have thousands of places in every image to average over, and often
    few steps: theirs follow fast, whatever the weights.
    """
    tuned = config.weights is not None and get_spec(config.name).task is Task.CLASSIFY
    return FINE_TUNE_MOMENTUM if tuned else SCRATCH_MOMENTUM


def _limit_momentum(model: Any, limit: float) -> None:
    keras = import_backend("keras")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, limit)
