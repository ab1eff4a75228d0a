"""The zoo: one table of networks, and the ways to build what it names.

Everything but ``create_model`` and ``create_features`` works without TensorFlow. A further family
is a file with a ``SPECS`` table, named once in ``_FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgevision.contract import Contract, Detection
from edgevision.errors import InvalidConfigError
from edgevision.graph.graph import Graph
from edgevision.models import (
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    ssd,
    ssd_fpn,
    unet,
)
from edgevision.models.config import (
    DEFAULT_ACTIVATION,
    NUM_CLASSES,
    NetworkConfig,
    parse_activation,
    parse_pooling,
    parse_size,
)
from edgevision.models.graph_net import GraphNet
from edgevision.models.heads import HEAD_PREFIX, pooled_features
from edgevision.models.net import Activation, Net, T
from edgevision.models.spec import ModelSpec
from edgevision.specs import ScoreKind, Task, Upsampling, parse_choice

if TYPE_CHECKING:
    from edgevision.models.weights import WeightsReport

InputSize = int | tuple[int, int]

IMAGENET = "imagenet"

FEATURE_STRIDES = (4, 8, 16, 32)

_FAMILIES = (mobilenet_v1, mobilenet_v2, mobilenet_v3, mobilenet_v4, ssd, ssd_fpn, unet)

SPECS: Mapping[str, ModelSpec] = MappingProxyType(
    {spec.name: spec for family in _FAMILIES for spec in family.SPECS}
)


def get_spec(name: str) -> ModelSpec:
    """Return the row of the table that ``name`` names.

    Raises:
        InvalidConfigError: The zoo has no such network; close names are suggested.
    """
    if name in SPECS:
        return SPECS[name]
    close = get_close_matches(str(name), SPECS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise InvalidConfigError(
        "the zoo has no such network",
        received=f"name={name}",
        remedy=f"{hint}known names are {', '.join(SPECS)}",
    )


def configure(
    name: str,
    *,
    alpha: float | None = None,
    input_size: InputSize | None = None,
    num_classes: int | None = None,
    channels: int = 3,
    dropout: float | None = None,
    classifier_activation: str | None = DEFAULT_ACTIVATION,
    include_top: bool = True,
    pooling: str | None = None,
    output_stride: int = 32,
    upsampling: Upsampling | str | None = None,
) -> NetworkConfig:
    """Check the choices for ``name`` and fill in its defaults.

    Raises:
        InvalidConfigError: A value is out of range, or means nothing to this network; the message
            says which and why.
    """
    spec = get_spec(name)
    config = NetworkConfig(
        alpha=spec.alpha if alpha is None else alpha,
        input_size=spec.input_size if input_size is None else parse_size(input_size),
        num_classes=NUM_CLASSES[spec.task] if num_classes is None else num_classes,
        channels=channels,
        dropout=spec.dropout if dropout is None else dropout,
        classifier_activation=parse_activation(classifier_activation, spec.task),
        include_top=include_top,
        pooling=parse_pooling(pooling),
        output_stride=output_stride,
        upsampling=parse_choice(Upsampling, upsampling or spec.upsampling, "upsampling"),
    )
    _check_task(spec, config, upsampling)
    return config


def _check_task(spec: ModelSpec, config: NetworkConfig, upsampling: str | None) -> None:
    """Refuse choices that a network of this task would ignore."""
    strange = {}
    if spec.task is not Task.CLASSIFY:
        strange["include_top"] = not config.include_top
        strange["pooling"] = config.pooling is not None
    if spec.task is Task.DETECT:
        strange["dropout"] = config.dropout > 0
        strange["output_stride"] = config.output_stride != 32
    if spec.task is not Task.SEGMENT:
        strange["upsampling"] = upsampling is not None
    for choice in (choice for choice, given in strange.items() if given):
        raise InvalidConfigError(
            f"{choice} means nothing to a network of task {spec.task.value}",
            received=f"name={spec.name}, {choice}={getattr(config, choice)}",
            remedy="leave it out",
        )


def build_graph(name: str, **choices: Any) -> Graph:
    """Build a network as a ``Graph`` of shapes: no weights, no TensorFlow, well under 1 ms.

    Args:
        name: A name from ``list_models``.
        **choices: As for ``create_model``, without ``weights``.

    Raises:
        InvalidConfigError: Unknown name, or a choice out of range.

    >>> graph = build_graph("mobilenet_v1", alpha=0.25, input_size=96, num_classes=2)
    >>> graph.output_specs()[0].shape
    (1, 2)
    """
    net = GraphNet()
    return net.build_graph(name, _write(net, name, configure(name, **choices)))


def create_model(
    name: str,
    *,
    alpha: float | None = None,
    input_size: InputSize | None = None,
    num_classes: int | None = None,
    channels: int = 3,
    dropout: float | None = None,
    weights: str | Path | None = None,
    classifier_activation: str | None = DEFAULT_ACTIVATION,
    include_top: bool = True,
    pooling: str | None = None,
    output_stride: int = 32,
    upsampling: Upsampling | str | None = None,
) -> Any:
    """Build a network as a functional Keras model with an open batch.

    Args:
        name: A name from ``list_models``.
        alpha: Width multiplier above 0; the network's own default for ``None``.
        input_size: Side in pixels, or ``(height, width)``; at least 32.
        num_classes: Outputs of a classifier, object classes of a detector (without background),
            classes of a segmenter (with background); 1,000, 90 and 21 for ``None``.
        channels: Channels of the input image.
        dropout: Rate before the classifier; the paper's for ``None``.
        weights: ``None`` for random ones, ``"imagenet"`` for those that ``keras.applications``
            publishes, or a ``.keras`` or ``.h5`` file. A classifier's weights fill the backbone of
            a detector or segmenter. A head that they do not fit is left random;
            ``edgevision.models.weights.load_weights`` tells what was.
        classifier_activation: ``"softmax"``, ``"sigmoid"``, or ``None`` for logits. By default
            a classifier ends in a softmax, a detector in sigmoids, a segmenter in logits.
        include_top: Whether to build the classifier.
        pooling: Without a classifier: ``"avg"``, ``"max"``, or ``None`` for the feature map.
        output_stride: 32, or 16 with a dilated last stage.
        upsampling: Of a segmenter: ``"bilinear"`` or ``"transposed"``; the network's own for
            ``None``.

    Returns:
        A ``keras.Model`` whose input ``image`` is ``(batch, height, width, channels)`` float32,
        prepared as ``default_contract(name)`` says. Outputs are, by task:

        - classify: ``(batch, num_classes)``;
        - detect: ``box_encodings`` ``(batch, A, 4)`` and ``class_scores``
          ``(batch, A, num_classes + 1)`` with the background first, for the anchors of the
          contract;
        - segment: ``(batch, height, width, num_classes)``.

    Raises:
        InvalidConfigError: Unknown name, a choice out of range, or weights that are not published.
        DataError: Published weights can not be downloaded.
        InvalidModelError: The weights file does not fit.
        MissingFileError: There is no such file.
        BackendUnavailableError: TensorFlow is not installed.
    """
    config = configure(
        name,
        alpha=alpha,
        input_size=input_size,
        num_classes=num_classes,
        channels=channels,
        dropout=dropout,
        classifier_activation=classifier_activation,
        include_top=include_top,
        pooling=pooling,
        output_stride=output_stride,
        upsampling=upsampling,
    )
    if weights is None:
        return _build_model(name, config)
    return _build_pretrained(name, config, weights)[0]


def create_pretrained(
    name: str, *, weights: str | Path, **choices: Any
) -> tuple[Any, WeightsReport]:
    """Build as ``create_model`` does, and tell which layers got weights.

    Args:
        name: A name from ``list_models``.
        weights: ``"imagenet"`` or a file.
        **choices: As for ``create_model``.
    """
    return _build_pretrained(name, configure(name, **choices), weights)


def create_features(
    name: str, *, strides: Sequence[int] = FEATURE_STRIDES, expanded: bool = False, **choices: Any
) -> Any:
    """Build a backbone as a Keras model whose outputs are its feature maps, by stride.

    Args:
        name: A name from ``list_models``.
        strides: Which maps, in the order of the outputs.
        expanded: Take the wider maps inside inverted residuals (``Features.expanded``).
        **choices: As for ``configure``.

    Raises:
        InvalidConfigError: Unknown name, a choice out of range, or no map at a stride.
    """
    net = _keras_net()
    outputs = _tap(net, name, configure(name, **choices), strides, expanded)
    return net.build_model(f"{name}_features", outputs)


def build_feature_graph(
    name: str, *, strides: Sequence[int] = FEATURE_STRIDES, expanded: bool = False, **choices: Any
) -> Graph:
    """Build the same as ``create_features`` as a ``Graph`` of shapes."""
    net = GraphNet()
    outputs = _tap(net, name, configure(name, **choices), strides, expanded)
    return net.build_graph(f"{name}_features", outputs)


def default_contract(
    name: str,
    *,
    labels: Sequence[str] = (),
    classifier_activation: str | None = DEFAULT_ACTIVATION,
    input_size: InputSize | None = None,
) -> Contract:
    """Return what the network expects of an image and what its output means.

    Args:
        name: A name from ``list_models``.
        labels: Class names.
        classifier_activation: As the network was built with.
        input_size: As the network was built with; a detector's anchors depend on it.

    Raises:
        InvalidConfigError: Unknown name, or a choice out of range.

    >>> default_contract("mobilenet_v2", labels=("cat", "dog")).preprocessing.mean
    (127.5,)
    >>> default_contract("ssd_mobilenet_v1").detection.num_anchors
    1917
    """
    spec = get_spec(name)
    choices: dict[str, Any] = {
        "classifier_activation": classifier_activation,
        "input_size": input_size,
    }
    config = configure(name, **choices)
    logits = config.classifier_activation is Activation.LINEAR
    anchors = None if spec.anchors is None else spec.anchors(config.input_size)
    return Contract(
        task=spec.task,
        labels=tuple(labels),
        preprocessing=spec.preprocessing,
        scores=ScoreKind.LOGITS if logits else ScoreKind.PROBABILITIES,
        name=name,
        detection=None if anchors is None else Detection(anchors=anchors),
    )


def head_layers(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that a Keras model has behind its backbone, in order.

    That is the classifier, the predictors and extra maps of a detector, or the decoder of
    a segmenter. They are found by name, so this works for loaded models as well; freezing all
    others trains the head alone.
    """
    return tuple(layer.name for layer in model.layers if layer.name.startswith(HEAD_PREFIX))


def backbone_layers(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that a Keras model shares with a classifier, in order."""
    return tuple(layer.name for layer in model.layers if not layer.name.startswith(HEAD_PREFIX))


def _write(net: Net[T], name: str, config: NetworkConfig) -> Any:
    """Speak the whole network to ``net`` and return its output."""
    spec = get_spec(name)
    image = net.input((*config.input_size, config.channels), name="image")
    features = spec.backbone(net, image, config)
    head = spec.head if config.include_top else pooled_features
    return head(net, features, config)


def _tap(
    net: Net[T], name: str, config: NetworkConfig, strides: Sequence[int], expanded: bool
) -> dict[str, T]:
    image = net.input((*config.input_size, config.channels), name="image")
    features = get_spec(name).backbone(net, image, config)
    return {f"stride_{s}": features.at(s, expanded=expanded) for s in strides}


def _keras_net() -> Any:
    from edgevision.models.keras_net import KerasNet

    return KerasNet()


def _build_model(name: str, config: NetworkConfig) -> Any:
    net = _keras_net()
    return net.build_model(name, _write(net, name, config))


def _build_pretrained(
    name: str, config: NetworkConfig, weights: str | Path
) -> tuple[Any, WeightsReport]:
    from edgevision.models.weights import fetch_published, load_weights, require_file

    # Found before the network is built: a missing file must not cost seconds.
    imagenet = weights == IMAGENET
    source = fetch_published(get_spec(name), config) if imagenet else require_file(weights)
    model = _build_model(name, config)
    return model, load_weights(model, source)
