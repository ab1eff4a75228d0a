"""Classification targets and their loss: label smoothing, mixup, class weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend


def smooth_targets(targets: Any, num_classes: int, smoothing: float) -> Any:
    """Turn class indices into probabilities (Szegedy et al. 2016).

    Args:
        targets: (N,) integer tensor.
        num_classes: Number of classes.
        smoothing: Share of the probability that is spread over all classes evenly.

    Returns:
        (N, num_classes) float32 tensor whose rows sum to 1.
    """
    tf = import_backend("tensorflow")
    spread = smoothing / num_classes
    return tf.one_hot(targets, num_classes, 1.0 - smoothing + spread, spread)


def mix_images(images: Any, targets: Any, *, mixup: float, seed: Any) -> tuple[Any, Any]:
    """Blend each image, and its target, with another one of the batch (mixup, Zhang et al. 2018).

    Args:
        images: (N, H, W, C) float32 tensor.
        targets: (N, classes) float32 tensor of probabilities.
        mixup: Parameter of the symmetric Beta distribution, above 0.
        seed: (2,) int32; the same seed blends the same way.
    """
    tf = import_backend("tensorflow")
    count = tf.shape(images)[0]
    first, second = tf.unstack(tf.random.split(seed, 2))
    # A ratio of Gamma draws is a Beta draw.
    gamma = tf.random.stateless_gamma((2, count), first, alpha=mixup) + 1e-9
    share = gamma[0] / (gamma[0] + gamma[1])
    partner = tf.argsort(tf.random.stateless_uniform((count,), second))
    wide, flat = share[:, None, None, None], share[:, None]
    mixed = wide * images + (1 - wide) * tf.gather(images, partner)
    return mixed, flat * targets + (1 - flat) * tf.gather(targets, partner)


def balance_classes(targets: Sequence[int], num_classes: int) -> NDArray[np.float32]:
    """Weigh classes by the inverse of their frequency; the mean over all images is 1.

    Args:
        targets: Class index of each training image.
        num_classes: Number of classes.

    Returns:
        (num_classes,) float32; 0 for a class without images.

    >>> balance_classes([0, 0, 0, 1], 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = np.bincount(np.asarray(targets, np.int64), minlength=num_classes)
    present = counts > 0
    weights = np.zeros(num_classes, np.float32)
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights


def cross_entropy(probabilities: Any, logits: Any, class_weights: Any) -> Any:
    """Return the mean loss of a batch.

    Args:
        probabilities: (N, classes) targets.
        logits: (N, classes), of any float dtype; computed in float32.
        class_weights: (classes,) float32; a blended target is weighted by its blend.

    Returns:
        Scalar float32 tensor.
    """
    tf = import_backend("tensorflow")
    losses = tf.nn.softmax_cross_entropy_with_logits(probabilities, tf.cast(logits, tf.float32))
    weights = tf.linalg.matvec(probabilities, class_weights)
    return tf.reduce_mean(losses * weights)
