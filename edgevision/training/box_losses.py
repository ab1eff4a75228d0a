"""The loss of an SSD detector: where its boxes are, and what is in them."""

from __future__ import annotations

from typing import Any

from edgevision.backends import import_backend
from edgevision.training.config import BoxLoss
from edgevision.training.matching import BACKGROUND, IGNORED

_NEGATIVES_PER_POSITIVE = 3
# An image without objects still teaches what background is.
_MIN_NEGATIVES = 8
_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2.0


def measure_box_loss(
    outputs: tuple[Any, Any], targets: tuple[Any, Any], *, kind: BoxLoss
) -> tuple[Any, dict[str, Any]]:
    """Return the loss of a batch: boxes plus classes, per matched anchor.

    Args:
        outputs: (N, A, 4) encodings and (N, A, classes + 1) logits, the background first.
        targets: (N, A) int32 labels of ``Matcher``, and (N, A, 4) encodings.
        kind: How background is kept from outweighing the objects.

    Returns:
        Scalar float32 loss; and its two parts, ``box_loss`` and ``class_loss``.
    """
    tf = import_backend("tensorflow")
    encodings, logits = (tf.cast(output, tf.float32) for output in outputs)
    labels, wanted = targets
    positive = tf.cast(labels > BACKGROUND, tf.float32)
    num_positives = tf.maximum(tf.reduce_sum(positive), 1.0)
    boxes = tf.reduce_sum(smooth_l1(encodings - wanted) * positive[..., None]) / num_positives
    measure = measure_focal_loss if kind is BoxLoss.FOCAL else measure_mined_loss
    classes = measure(logits, labels) / num_positives
    return boxes + classes, {"box_loss": boxes, "class_loss": classes}


def smooth_l1(differences: Any) -> Any:
    """Square of small differences, half, and the size of large ones less a half (Girshick 2015)."""
    tf = import_backend("tensorflow")
    size = tf.abs(differences)
    return tf.where(size < 1, 0.5 * size * size, size - 0.5)


def measure_mined_loss(logits: Any, labels: Any) -> Any:
    """Sum the cross entropy of matched anchors and of the worst background (Liu et al. 2016).

    Each class is a sigmoid of its own, the background too, as in the TensorFlow Object Detection
    API: integer kernels have a sigmoid on every device, but not always a softmax.

    Args:
        logits: (N, A, classes + 1) float32.
        labels: (N, A) int32 of ``Matcher``.
    """
    tf = import_backend("tensorflow")
    wanted = tf.one_hot(tf.maximum(labels, BACKGROUND), tf.shape(logits)[-1])
    losses = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits), axis=-1)
    positive = labels > BACKGROUND
    background = tf.where(tf.equal(labels, BACKGROUND), losses, 0.0)
    chosen = tf.logical_or(positive, find_hard_negatives(background, positive))
    return tf.reduce_sum(tf.where(chosen, losses, 0.0))


def find_hard_negatives(losses: Any, positive: Any) -> Any:
    """Choose the background anchors with the largest losses, three for each matched anchor.

    Args:
        losses: (N, A) float32, 0 for anchors that are no background.
        positive: (N, A) bool, whether the anchor is matched.

    Returns:
        (N, A) bool.
    """
    tf = import_backend("tensorflow")
    num_anchors = tf.shape(losses)[1]
    matched = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    wanted = tf.maximum(_NEGATIVES_PER_POSITIVE * matched, _MIN_NEGATIVES)
    ranked = tf.sort(losses, axis=1, direction="DESCENDING")
    last = tf.gather(ranked, tf.minimum(wanted, num_anchors) - 1, axis=1, batch_dims=1)
    return tf.logical_and(losses >= last[:, None], losses > 0)


def measure_focal_loss(logits: Any, labels: Any) -> Any:
    """Sum the focal loss over all anchors (Lin et al. 2017, arXiv:1708.02002).

    Background is the absence of every class; its own column learns nothing.

    Args:
        logits: (N, A, classes + 1) float32.
        labels: (N, A) int32 of ``Matcher``.
    """
    tf = import_backend("tensorflow")
    scores = logits[..., 1:]
    wanted = tf.one_hot(labels - 1, tf.shape(scores)[-1])
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted, scores)
    right = tf.where(wanted > 0, tf.sigmoid(scores), 1 - tf.sigmoid(scores))
    weight = tf.where(wanted > 0, _FOCAL_ALPHA, 1 - _FOCAL_ALPHA)
    losses = weight * (1 - right) ** _FOCAL_GAMMA * entropy
    counted = tf.cast(tf.not_equal(labels, IGNORED), tf.float32)
    return tf.reduce_sum(losses * counted[..., None])
