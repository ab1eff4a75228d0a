"""The loss of a segmenter: cross entropy for each pixel, Dice for each class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.data.mask_annotations import IGNORED

_SMOOTH = 1.0


def measure_mask_loss(
    logits: Any, masks: Any, *, class_weights: Any, dice_weight: float
) -> tuple[Any, dict[str, Any]]:
    """Return the loss of a batch.

    Args:
        logits: (N, H, W, C), of any float dtype; computed in float32.
        masks: (N, H, W) integer class indices; 255 counts as no class.
        class_weights: (C,) float32.
        dice_weight: Of the Dice loss beside the cross entropy.

    Returns:
        Scalar float32 loss; and its parts ``cross_entropy`` and ``dice_loss``.
    """
    tf = import_backend("tensorflow")
    logits = tf.cast(logits, tf.float32)
    masks = tf.cast(masks, tf.int32)
    counted = tf.cast(tf.not_equal(masks, IGNORED), tf.float32)
    classes = tf.where(tf.equal(masks, IGNORED), 0, masks)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    weights = tf.gather(class_weights, classes) * counted
    entropy = tf.reduce_sum(losses * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)
    wanted = tf.one_hot(classes, logits.shape[-1]) * counted[..., None]
    dice = measure_dice_loss(tf.nn.softmax(logits) * counted[..., None], wanted)
    return entropy + dice_weight * dice, {"cross_entropy": entropy, "dice_loss": dice}


def measure_dice_loss(shares: Any, wanted: Any) -> Any:
    """Return 1 minus the mean Dice coefficient of the classes that the batch holds.

    ``2 Σ p g / (Σ p² + Σ g²)`` for each class over all pixels of the batch (Milletari et al. 2016,
    arXiv:1606.04797, equation 2); it does not care how rare a class is.

    Args:
        shares: (N, H, W, C) float32 probabilities, 0 for pixels that do not count.
        wanted: (N, H, W, C) float32, 1 for the true class, 0 for pixels that do not count.
    """
    tf = import_backend("tensorflow")
    axes = (0, 1, 2)
    common = tf.reduce_sum(shares * wanted, axes)
    total = tf.reduce_sum(shares * shares, axes) + tf.reduce_sum(wanted * wanted, axes)
    dice = (2 * common + _SMOOTH) / (total + _SMOOTH)
    present = tf.cast(tf.reduce_sum(wanted, axes) > 0, tf.float32)
    return 1 - tf.reduce_sum(dice * present) / tf.maximum(tf.reduce_sum(present), 1.0)


def balance_pixels(masks: Iterable[NDArray[np.uint8]], num_classes: int) -> NDArray[np.float32]:
    """Weigh classes against their frequency: median frequency over frequency, softened by a root.

    Eigen and Fergus 2015 (arXiv:1411.4734, section 4.3.2) divide the median by the frequency
    itself; the root keeps a class of a few pixels from outweighing all others.

    Args:
        masks: Class indices; 255 counts as no class.
        num_classes: Number of classes.

    Returns:
        (num_classes,) float32; 1 for a class without pixels.

    >>> mask = np.uint8([[0, 0, 0, 0], [1, 255, 255, 255]])
    >>> [round(float(weight), 2) for weight in balance_pixels([mask], 2)]
    [0.79, 1.58]
    """
    counts = np.zeros(256, np.int64)
    for mask in masks:
        counts += np.bincount(mask.ravel(), minlength=256)
    seen = counts[:num_classes].astype(np.float64)
    present = seen > 0
    weights = np.ones(num_classes, np.float32)
    if present.any():
        weights[present] = np.sqrt(np.median(seen[present]) / seen[present])
    return weights
