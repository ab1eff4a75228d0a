"""Standard TFLite Metadata: what Android, MediaPipe Tasks and Play Services read from a model.

Decodes and encodes the ``M001`` flatbuffer of ``metadata_schema.fbs`` (TensorFlow Lite Support,
schema 1.x, https://www.tensorflow.org/lite/models/convert/metadata). Label files lie in the archive
behind the model (``edgevision.graph.archives``). Normalization options are those of the float model
in units of 0–255 pixels, for quantized models too; the tensor's own scale does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.contract import Contract
from edgevision.errors import BackendUnavailableError, InvalidConfigError, InvalidModelError
from edgevision.graph.detection_heads import RAW_HEADS, find_heads, has_postprocess
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.graph.postprocess_settings import find_results
from edgevision.graph.tables import Table, read_root
from edgevision.specs import ColorOrder, ScoreKind, Task

METADATA_NAME = "TFLITE_METADATA"
LABELS_NAME = "labels.txt"
CONTRACT_NAME = "edgevision.json"

_IDENTIFIER = b"M001"
# The oldest parser that understands every field written here.
_MIN_PARSER_VERSION = "1.0.0"

_FEATURE, _IMAGE, _BOXES = 1, 2, 3
_NORMALIZATION = 1
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_COLORS = {1: ColorOrder.RGB, 2: ColorOrder.GRAY}
# The standard has no BGR: UNKNOWN keeps readers from taking the model for an RGB one.
_COLOR_CODES = {ColorOrder.RGB: 1, ColorOrder.GRAY: 2, ColorOrder.BGR: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardMetadata:
    """What the standard metadata of a model state.

    Attributes:
        name: Name of the model.
        description: What it does, for people.
        version: The author's version.
        mean: Per channel or one for all; empty where not stated.
        std: As ``mean``.
        color: Colour space of the input, ``None`` where not stated.
        label_files: Names of the label files of the outputs, the best one first.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    color: ColorOrder | None = None
    label_files: tuple[str, ...] = ()


def decode_metadata(data: bytes) -> StandardMetadata:
    """Decode a ``TFLITE_METADATA`` buffer.

    Raises:
        InvalidModelError: It is not one, or damaged.
    """
    if data[4:8] != _IDENTIFIER:
        raise InvalidModelError(
            "TFLite metadata start with the identifier M001", received=repr(data[4:8])
        )
    model = read_root(data)
    subgraphs = model.tables(3)
    inputs = subgraphs[0].tables(2) if subgraphs else []
    outputs = subgraphs[0].tables(3) if subgraphs else []
    mean, std = _decode_normalization(inputs)
    holders = [*((table, 6) for table in outputs), *((table, 4) for table in subgraphs[:1])]
    return StandardMetadata(
        name=model.text(0),
        description=model.text(1),
        version=model.text(2),
        mean=mean,
        std=std,
        color=_decode_color(inputs),
        label_files=_decode_label_files(holders),
    )


def encode_metadata(contract: Contract, graph: Graph, *, description: str = "") -> bytes:
    """Encode what the standard can say of a contract.

    Args:
        contract: What the model expects and answers.
        graph: The model, for the number and meaning of its inputs and outputs.
        description: What the model does, for people.

    Raises:
        BackendUnavailableError: The ``flatbuffers`` package is missing.
    """
    try:
        import flatbuffers
    except ImportError as error:
        raise BackendUnavailableError(
            "writing TFLite metadata needs flatbuffers, which is not installed", extra="tf"
        ) from error
    outputs = _OUTPUTS[contract.task](contract, graph)
    inputs = [_describe_image(contract), *({} for _ in graph.inputs[1:])]
    fields = {
        0: contract.name or graph.name,
        1: description or _DESCRIPTIONS[contract.task],
        3: [{2: inputs, 3: outputs}],
        6: [_describe_file(CONTRACT_NAME, "Everything that edgevision knows of the model.")],
        7: _MIN_PARSER_VERSION,
    }
    builder = flatbuffers.Builder(4096)
    builder.Finish(_write_table(builder, fields), _IDENTIFIER)
    return bytes(builder.Output())


def format_labels(labels: Sequence[str]) -> bytes:
    r"""Return the content of a label file: one label per line, UTF-8.

    >>> format_labels(["cat, tabby", "größe"]).decode()
    'cat, tabby\ngröße\n'

    Raises:
        InvalidConfigError: A label holds a line break, which the format has no escape for, or
            the last one is blank.
    """
    if labels and not labels[-1].strip():
        raise InvalidConfigError("the last label is blank", received=f"label {len(labels) - 1}")
    for index, label in enumerate(labels):
        if any(character in label for character in "\n\r\0"):
            raise InvalidConfigError(
                "a label can not hold a line break: label files have one label per line",
                received=f"label {index}: {label!r}",
                remedy="rename the class",
            )
    return "".join(f"{label}\n" for label in labels).encode()


def parse_labels(content: bytes) -> tuple[str, ...]:
    r"""Return the labels of a label file; blank lines at its end do not count.

    >>> parse_labels(b"background\r\ncat\n\n")
    ('background', 'cat')

    Raises:
        InvalidModelError: It is not UTF-8 text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidModelError("a label file must be UTF-8 text", received=error) from error
    if not text.strip():
        return ()
    return tuple(line.removesuffix("\r") for line in text.rstrip("\r\n").split("\n"))


def _decode_normalization(inputs: Sequence[Table]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for tensor in inputs:
        for unit in tensor.tables(4):
            options = unit.table(1) if unit.scalar(0, "B", 0) == _NORMALIZATION else None
            if options is not None:
                return tuple(options.numbers(0, "<f4").tolist()), tuple(
                    options.numbers(1, "<f4").tolist()
                )
    return (), ()


def _decode_color(inputs: Sequence[Table]) -> ColorOrder | None:
    for tensor in inputs:
        content = tensor.table(3)
        if content is not None and content.scalar(0, "B", 0) == _IMAGE:
            properties = content.table(1)
            code = properties.scalar(0, "b", 0) if properties is not None else 0
            return _COLORS.get(code)
    return None


def _decode_label_files(holders: Sequence[tuple[Table, int]]) -> tuple[str, ...]:
    """List label files: those without a locale first, then English ones, then the others."""
    found: list[tuple[int, int, str]] = []
    for table, slot in holders:
        for file in table.tables(slot):
            if file.scalar(2, "b", 0) in (_AXIS_LABELS, _VALUE_LABELS):
                locale = file.text(3).lower()
                rank = 0 if not locale else 1 if locale.startswith("en") else 2
                found.append((rank, len(found), file.text(0)))
    return tuple(name for _, _, name in sorted(found))


_DESCRIPTIONS = {
    Task.CLASSIFY: "Tells what an image shows.",
    Task.DETECT: "Finds objects in an image.",
    Task.SEGMENT: "Tells what each pixel of an image belongs to.",
}

# Fields of a table by slot. Numbers carry their type; dicts are tables.
Fields = dict[int, Any]


@dataclass(frozen=True, slots=True)
class _Number:
    """A scalar field: ``kind`` is the suffix of the builder's method."""

    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class _Indices:
    """A vector of unsigned integers."""

    values: tuple[int, ...]


def _describe_image(contract: Contract) -> Fields:
    preprocessing = contract.preprocessing
    mean, std = preprocessing.mean, preprocessing.std
    num_values = max(len(mean), len(std))
    pairs = [(mean[i % len(mean)], std[i % len(std)]) for i in range(num_values)]
    color = {0: _Number("Int8", _COLOR_CODES[preprocessing.color])}
    return {
        0: "image",
        1: "Input image.",
        3: {0: _Number("Uint8", _IMAGE), 1: color},
        4: [{0: _Number("Uint8", _NORMALIZATION), 1: {0: mean, 1: std}}],
        5: {
            0: tuple((255 - m) / s for m, s in pairs),
            1: tuple((0 - m) / s for m, s in pairs),
        },
    }


def _describe_file(name: str, description: str, kind: int = 0) -> Fields:
    return {0: name, 1: description, 2: _Number("Int8", kind)}


def _describe_labels(contract: Contract, kind: int) -> Fields:
    files = [_describe_file(LABELS_NAME, "Names of the classes.", kind)]
    return {6: files} if contract.labels else {}


def _describe_class_scores(contract: Contract, graph: Graph) -> list[Fields]:
    probabilities = contract.scores is ScoreKind.PROBABILITIES
    scores = {
        0: "probability" if probabilities else "score",
        1: "One value for each label.",
        3: {0: _Number("Uint8", _FEATURE), 1: {}},
        **({5: {0: (1.0,), 1: (0.0,)}} if probabilities else {}),
        **_describe_labels(contract, _AXIS_LABELS),
    }
    return [scores, *({} for _ in graph.outputs[1:])]


def _describe_mask(contract: Contract, graph: Graph) -> list[Fields]:
    mask = {
        0: "segmentation masks",
        1: "One value for each pixel and class.",
        3: {
            0: _Number("Uint8", _IMAGE),
            1: {0: _Number("Int8", _COLOR_CODES[ColorOrder.GRAY])},
            2: {0: _Number("Int32", 1), 1: _Number("Int32", 2)},
        },
        **_describe_labels(contract, _AXIS_LABELS),
    }
    return [mask, *({} for _ in graph.outputs[1:])]


def _describe_detections(contract: Contract, graph: Graph) -> list[Fields]:
    """Describe the outputs of a detector, in whatever order the model returns them."""
    if not has_postprocess(graph) and len(graph.outputs) == len(RAW_HEADS):
        return _describe_heads(contract, graph)
    feature: Fields = {0: _Number("Uint8", _FEATURE), 1: {}}
    # TFLite_Detection_PostProcess: ymin, xmin, ymax, xmax as fractions of the input.
    boxes: Fields = {
        0: _Number("Uint8", _BOXES),
        1: {0: _Indices((1, 0, 3, 2)), 1: _Number("Int8", 1)},
        2: {0: _Number("Int32", 2), 1: _Number("Int32", 2)},
    }
    meanings: list[Fields] = [
        {0: "location", 1: "Corners of the boxes.", 3: boxes},
        {0: "category", 1: "Classes.", 3: feature, **_describe_labels(contract, _VALUE_LABELS)},
        {0: "score", 1: "Scores.", 3: feature},
        {0: "number of detections", 1: "How many boxes are valid.", 3: feature},
    ]
    written: Sequence[int] = graph.outputs
    if any(op.kind is OpKind.DETECTION_POSTPROCESS for op in graph.ops):
        written = list(find_results(graph).values())
    known = dict(zip(written, meanings, strict=False))
    return [known.get(tensor, {}) for tensor in graph.outputs]


def _describe_heads(contract: Contract, graph: Graph) -> list[Fields]:
    """Describe raw heads. Labels name no axis of them: the background may come first."""
    feature: Fields = {0: _Number("Uint8", _FEATURE), 1: {}}
    texts = ("Offsets of the boxes from their anchors.", "Scores of the classes of each anchor.")
    files = _describe_labels(contract, _VALUE_LABELS)
    meanings = [{0: name, 1: text, 3: feature} for name, text in zip(RAW_HEADS, texts, strict=True)]
    try:
        heads = find_heads(graph)
    except InvalidModelError:  # two outputs of another kind: nothing to say of them
        return [{} for _ in graph.outputs]
    known = dict(zip(heads, (meanings[0], meanings[1] | files), strict=True))
    return [known[tensor] for tensor in graph.outputs]


_OUTPUTS = {
    Task.CLASSIFY: _describe_class_scores,
    Task.DETECT: _describe_detections,
    Task.SEGMENT: _describe_mask,
}


def _write_table(builder: Any, fields: Mapping[int, Any]) -> int:
    offsets = {
        slot: _write_value(builder, value)
        for slot, value in fields.items()
        if not isinstance(value, _Number)
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if isinstance(value, _Number):
            getattr(builder, f"Prepend{value.kind}Slot")(slot, value.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return int(builder.EndObject())


def _write_value(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Mapping):
        return _write_table(builder, value)
    if isinstance(value, list):
        prepend, items = "PrependUOffsetTRelative", [_write_table(builder, v) for v in value]
    elif isinstance(value, _Indices):
        prepend, items = "PrependUint32", list(value.values)
    else:
        prepend, items = "PrependFloat32", list(value)
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        getattr(builder, prepend)(item)
    return int(builder.EndVector())
