"""What a network tells about its own contract where nobody has written it down."""

from __future__ import annotations

from edgevision.contract import Detection, Preprocessing
from edgevision.errors import InvalidModelError
from edgevision.graph.detection_heads import find_heads, has_postprocess
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.graph.postprocess_settings import count_object_classes, read_detection
from edgevision.specs import ColorOrder, ScoreKind, Task, TensorSpec

# Operations that hand the values of a head on without changing their meaning.
_PASSING = (
    OpKind.RESHAPE,
    OpKind.DEQUANTIZE,
    OpKind.QUANTIZE,
    OpKind.CAST,
    OpKind.TRANSPOSE,
    OpKind.RESIZE,
    OpKind.CONCAT,
)
_UNBOUNDED = (
    OpKind.FULLY_CONNECTED,
    OpKind.MATMUL,
    OpKind.CONV_2D,
    OpKind.ADD,
    OpKind.REDUCE,
    OpKind.GLOBAL_POOL,
    OpKind.AVERAGE_POOL,
)
_BACKGROUND_LABELS = frozenset(
    ("background", "__background__", "dummy", "unlabeled", "unused", "???")
)
_INDEX_TYPES = ("int32", "int64")


def guess_task(graph: Graph) -> Task:
    """Tell the task from the outputs.

    One vector of scores means classification; a ``TFLite_Detection_PostProcess`` or
    non-maximum suppression, four outputs, or a pair of boxes and scores mean detection; one value
    per pixel means segmentation.

    Raises:
        InvalidModelError: The outputs fit no task.
    """
    outputs = graph.output_specs()
    shapes = [spec.shape for spec in outputs]
    if has_postprocess(graph) or len(outputs) == 4:
        return Task.DETECT
    if len(outputs) == 1:
        task = _guess_single(outputs[0])
        if task is not None:
            return task
    elif len(outputs) == 2 and any(len(s) == 3 and s[-1] == 4 for s in shapes):
        return Task.DETECT
    raise InvalidModelError(
        "the task of the model can not be told from its outputs",
        received=f"outputs {[list(shape) for shape in shapes]}",
        remedy="name it: classify, detect or segment",
    )


def guess_scores(graph: Graph) -> ScoreKind:
    """Tell from the last operation whether the scores are probabilities or logits."""
    op = _find_head(graph, _find_scores(graph))
    unbounded = op is not None and op.kind in _UNBOUNDED and not op.attributes.get("activation")
    return ScoreKind.LOGITS if unbounded else ScoreKind.PROBABILITIES


def guess_preprocessing(spec: TensorSpec | None) -> Preprocessing:
    """Guess the preprocessing from the input tensor.

    An 8-bit input is taken to store the pixels themselves (shifted by 128 for int8), as every
    converter writes it for image models: mean and std follow from scale and zero point. A float
    input is taken to range from -1 to 1.
    """
    if spec is None:
        return Preprocessing()
    color = ColorOrder.GRAY if count_channels(spec) == 1 else ColorOrder.RGB
    lowest = {"int8": -128, "uint8": 0}.get(spec.dtype)
    if lowest is None or spec.quantization is None or spec.quantization.scales[0] <= 0:
        return Preprocessing(color=color)
    scale, zero_point = spec.quantization.scales[0], spec.quantization.zero_points[0]
    return Preprocessing(
        mean=(float(zero_point - lowest),), std=(round(1 / scale, 6),), color=color
    )


def count_channels(spec: TensorSpec) -> int:
    """Count the channels of an image tensor in either layout; 0 where it is none."""
    if len(spec.shape) != 4:
        return 0
    return spec.shape[1] if is_channels_first(spec) else spec.shape[-1]


def is_channels_first(spec: TensorSpec) -> bool:
    """Whether an image tensor has its one or three channels in front of height and width."""
    return len(spec.shape) == 4 and spec.shape[1] in (1, 3) and spec.shape[-1] not in (1, 3)


def guess_detection(graph: Graph) -> tuple[Detection, bool]:
    """Tell how a detector's outputs become boxes.

    Returns:
        The settings of its ``TFLite_Detection_PostProcess`` and ``True``; without that operation,
        or where nobody can read them, usual values and ``False``.
    """
    try:
        return read_detection(graph), True
    except InvalidModelError:
        return Detection(), False


def count_classes(graph: Graph, task: Task, *, background: bool = True) -> int:
    """Count the classes that have labels; 0 where the outputs do not tell.

    Args:
        graph: The network.
        task: What it answers.
        background: Of a detector with raw heads: whether its first score is the background.
    """
    if not graph.outputs:
        return 0
    if task is Task.DETECT:
        return _count_objects(graph, background)
    spec = graph.output_specs()[0]
    if task is Task.SEGMENT:
        return _count_pixel_scores(graph, spec)
    sizes = [size for size in spec.shape if size != 1]
    return max(sizes[-1], 0) if sizes else 1


def is_background(label: str) -> bool:
    """Whether a label names the class of everything that is no class.

    >>> is_background("Background"), is_background("tench")
    (True, False)
    """
    return label.casefold() in _BACKGROUND_LABELS


def _count_objects(graph: Graph, background: bool) -> int:
    """Count the object classes of a detector."""
    try:
        if has_postprocess(graph):
            return count_object_classes(graph)
        scores = graph.tensors[find_heads(graph)[1]]
    except InvalidModelError:  # suppression in another form: it does not tell
        return 0
    return max(scores.shape[-1] - background, 0)


def _find_scores(graph: Graph) -> int:
    """Return the tensor of the scores: a detector's second raw head, otherwise the first output."""
    if len(graph.outputs) == 2 and not has_postprocess(graph):
        try:
            return find_heads(graph)[1]
        except InvalidModelError:
            pass
    return graph.outputs[0] if graph.outputs else -1


def _count_pixel_scores(graph: Graph, spec: TensorSpec) -> int:
    if len(spec.shape) != 4:
        return 0
    axis = 1 if graph.inputs and is_channels_first(graph.input_specs()[0]) else 3
    # Indices of classes, one integer per pixel, do not tell how many there are.
    return spec.shape[axis] if spec.shape[axis] > 1 and spec.dtype not in _INDEX_TYPES else 0


def _guess_single(spec: TensorSpec) -> Task | None:
    sizes = spec.shape[1:] if len(spec.shape) > 1 else spec.shape
    if len(sizes) == 1 or (len(sizes) == 3 and 1 in (sizes[0], sizes[1]) and _is_vector(sizes)):
        return Task.CLASSIFY
    if len(sizes) == 3 or (len(sizes) == 2 and sizes[0] > 1 and "int" in spec.dtype):
        return Task.SEGMENT
    return None


def _is_vector(sizes: tuple[int, ...]) -> bool:
    return sum(size != 1 for size in sizes) <= 1


def _find_head(graph: Graph, tensor: int) -> Op | None:
    """Return the operation that computes a tensor, beyond reshapes and the like."""
    for _ in graph.ops:
        index = graph.producers.get(tensor)
        if index is None:
            return None
        op = graph.ops[index]
        if op.kind not in _PASSING:
            return op
        tensor = op.inputs[0]
    return None
