"""Training an SSD detector: anchors are matched to boxes in the pipeline, judged by mAP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.contract import Detection
from edgevision.data.boxes import BoxDataset
from edgevision.data.headers import ImageHeader, read_headers
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import DataError
from edgevision.graph.anchors import decode_boxes, lay_out_anchors
from edgevision.metrics.detection import FoundBoxes, TrueBoxes, measure_voc
from edgevision.models.predictions import BOX_ENCODINGS, CLASS_SCORES, SCORE_LAYERS
from edgevision.runtime.nms import suppress
from edgevision.specs import TensorSpec
from edgevision.training.augment import transform_images, vary_colors
from edgevision.training.box_losses import measure_box_loss
from edgevision.training.config import BoxLoss
from edgevision.training.dense import DenseJob
from edgevision.training.learner import Batch, Learner
from edgevision.training.matching import Matcher
from edgevision.training.pipeline import pick_in_order, stream_steps
from edgevision.training.pixels import PixelStore, normalize
from edgevision.training.sources import MIN_VAL_BATCH, load_stores
from edgevision.training.windows import (
    WHOLE,
    BoxAugmentation,
    draw_window,
    make_transform,
    move_boxes,
)

Array = NDArray[Any]

# Crops enlarge: training pixels are kept larger than the input.
_MARGIN = 1.4
_GRAY = 127.0
# Enough for a ranking of boxes, and an epoch is judged in a second or two.
_MIN_SCORE = 0.02
_MAX_BOXES = 100
_MAX_CANDIDATES = 400
# Probability of background and of any object among the anchors that the loss counts: without them
# the first epochs go into learning how rare objects are (Lin et al. 2017, section 4.1).
_PRIORS = {BoxLoss.HARD_NEGATIVES: (0.75, 0.25), BoxLoss.FOCAL: (0.5, 0.01)}


class DetectLearner(Learner):
    """Steps a detector; targets are labels and encodings of every anchor, and image numbers.

    Args:
        detection: Anchors, and how boxes are told apart.
        truth: The objects of the validation images, as shares of them.
        num_classes: Classes, without the background.
        box_loss: How background is kept from outweighing the objects.
        **base: As for ``Learner``.
    """

    def __init__(
        self,
        *,
        detection: Detection,
        truth: Sequence[TrueBoxes],
        num_classes: int,
        box_loss: BoxLoss,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.detection, self.truth = detection, truth
        self.num_classes, self.box_loss = num_classes, box_loss
        self._anchors = lay_out_anchors(detection.anchors)

    def compute_loss(self, inputs: Any, targets: Any, seed: Any) -> tuple[Any, dict[str, Any]]:
        """Return the loss of boxes and classes, and its two parts."""
        outputs = self.network(inputs, True)
        heads = outputs[BOX_ENCODINGS], outputs[CLASS_SCORES]
        return measure_box_loss(heads, targets[:2], kind=self.box_loss)

    def judge(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the loss, and the mAP at an IoU of 0.5 (every point of the curve)."""
        found: list[FoundBoxes] = []
        losses, num_images = 0.0, 0
        for images, targets, _ in batches:
            loss, encodings, scores = self._judge_step(images, targets)
            losses += float(loss) * len(images)
            num_images += len(images)
            found += map(self._find_boxes, encodings.numpy(), scores.numpy())
        result = measure_voc(self.truth, found, self.num_classes)
        return {"loss": losses / num_images, "map50": result.map}

    @cached_property
    def _judge_step(self) -> Any:
        tf = import_backend("tensorflow")

        def step(images: Any, targets: Any) -> Any:
            outputs = self.network(images, False)
            heads = outputs[BOX_ENCODINGS], outputs[CLASS_SCORES]
            loss, _ = measure_box_loss(heads, targets[:2], kind=self.box_loss)
            return loss, tf.cast(heads[0], tf.float32), tf.sigmoid(tf.cast(heads[1], tf.float32))

        return tf.function(step, reduce_retracing=True, autograph=False)

    def _find_boxes(self, encodings: Array, scores: Array) -> FoundBoxes:
        """Decode and suppress the boxes of one image; in shares of it."""
        values = scores[:, 1:]
        places, classes = np.nonzero(values >= _MIN_SCORE)
        best = values[places, classes]
        if len(best) > _MAX_CANDIDATES:
            chosen = np.argpartition(-best, _MAX_CANDIDATES)[:_MAX_CANDIDATES]
            places, classes, best = places[chosen], classes[chosen], best[chosen]
        boxes = decode_boxes(encodings[places], self._anchors[places], self.detection.box_scales)
        boxes = np.clip(boxes, 0, 1)
        kept = suppress(
            boxes,
            best,
            classes,
            iou_threshold=self.detection.iou_threshold,
            max_detections=_MAX_BOXES,
        )
        return FoundBoxes(boxes=boxes[kept], classes=classes[kept], scores=best[kept])


class DetectJob(DenseJob):
    """The part of a run that is a detector's."""

    metric = "map50"
    _train: PixelStore
    _val: PixelStore

    def build(self, *, load_weights: bool) -> None:
        """Build the network; its first guess is what the loss will mostly meet."""
        super().build(load_weights=load_weights)
        background, share = _PRIORS[self.config.box_loss]
        row = np.full(1 + self.num_classes, share / self.num_classes, np.float32)
        row[0] = background
        for layer in self.model.layers:
            if layer.name.startswith(SCORE_LAYERS) and getattr(layer, "bias", None) is not None:
                repeats = layer.bias.shape[0] // len(row)
                layer.bias.assign(np.tile(np.log(row / (1 - row)), repeats))

    def load(self, folder: Path, threads: int | None) -> None:
        """Decode all images once, and bring the boxes into shares of the input."""
        margin = _MARGIN if self.config.augment else 1.0
        large = round(self.size[0] * margin), round(self.size[1] * margin)
        self._train, self._val = load_stores(
            ((self.data.train.files, large), (self.data.val.files, self.size)),
            preprocessing=self.contract.preprocessing,
            folder=folder,
            threads=threads,
            report=self.report,
        )

    def make_learner(self) -> Learner:
        """Return a learner of everything that is not frozen."""
        return DetectLearner(
            network=self.run_model,
            model=self.model,
            weight_decay=self.config.weight_decay,
            trainable=self.model.trainable_variables,
            detection=self._detection,
            truth=self._val_truth,
            num_classes=self.num_classes,
            box_loss=self.config.box_loss,
        )

    def stream_train(self, span: tuple[int, int]) -> Any:
        """Stream random views with their matched anchors."""
        order, seed = self.order, self.config.seed

        def fetch(step: int) -> tuple[Array, ...]:
            indices = order.pick(step)
            views = [self._draw_view(i, (seed, step, n)) for n, i in enumerate(indices.tolist())]
            transforms, labels, encodings = (np.stack(part) for part in zip(*views, strict=True))
            return self._train.fetch(indices), transforms, labels, encodings

        def prepare(
            pixels: Any, transforms: Any, labels: Any, encodings: Any, step_seed: Any
        ) -> tuple[Any, Any]:
            return self._show(pixels, transforms, step_seed), (labels, encodings)

        anchors = self._detection.num_anchors
        shapes = (
            ("uint8", (None, None, None, 3)),
            ("float32", (None, 8)),
            ("int32", (None, anchors)),
            ("float32", (None, anchors, 4)),
        )
        return stream_steps(span, fetch=fetch, shapes=shapes, prepare=prepare, seed=seed)

    def stream_val(self) -> Any:
        """Stream the validation images in order."""
        batch = max(self.config.batch_size, MIN_VAL_BATCH)
        pick, steps = pick_in_order(len(self.data.val), batch)
        truth, matcher = self._val_truth, self._matcher

        def fetch(step: int) -> tuple[Array, ...]:
            indices = pick(step)
            objects = [truth[i] for i in indices.tolist()]
            matched = [matcher(o.boxes, o.classes, o.ignored) for o in objects]
            labels, encodings = (np.stack(part) for part in zip(*matched, strict=True))
            return self._val.fetch(indices), labels, encodings

        def prepare(pixels: Any, labels: Any, encodings: Any, _: Any) -> tuple[Any, Any]:
            images = normalize(pixels, self.contract.preprocessing)
            images.set_shape((None, *self.size, 3))
            return images, (labels, encodings)

        anchors = self._detection.num_anchors
        shapes = (
            ("uint8", (None, None, None, 3)),
            ("int32", (None, anchors)),
            ("float32", (None, anchors, 4)),
        )
        return stream_steps((0, steps), fetch=fetch, shapes=shapes, prepare=prepare, seed=0)

    @property
    def _detection(self) -> Detection:
        return self.contract.detection or Detection()

    @cached_property
    def _matcher(self) -> Matcher:
        anchors = lay_out_anchors(self._detection.anchors)
        return Matcher(anchors, self._detection.box_scales)

    @cached_property
    def _augmentation(self) -> BoxAugmentation | None:
        return BoxAugmentation(flip=self.config.flip) if self.config.augment else None

    @cached_property
    def _train_truth(self) -> list[TrueBoxes]:
        return self._scale_boxes(self.data.train)

    @cached_property
    def _val_truth(self) -> list[TrueBoxes]:
        return self._scale_boxes(self.data.val)

    def _draw_view(self, index: int, seed: tuple[int, int, int]) -> tuple[Array, Array, Array]:
        """Return the transform of a random view of a training image, and its matched anchors."""
        objects, how = self._train_truth[index], self._augmentation
        window = WHOLE
        if how is not None:
            window = draw_window(objects.boxes, how, np.random.default_rng(seed))
        boxes, whole = move_boxes(objects.boxes, window, self.size)
        labels, encodings = self._matcher(boxes, objects.classes, objects.ignored | ~whole)
        return make_transform(window, self._train.size, self.size), labels, encodings

    def _show(self, pixels: Any, transforms: Any, seed: Any) -> Any:
        """Turn stored pixels into the network's input, (N, height, width, 3) float32."""
        tf = import_backend("tensorflow")
        images = transform_images(pixels, transforms, size=self.size, fill=_GRAY)
        images = tf.cast(images, tf.float32)
        if self._augmentation is not None:
            images = vary_colors(images, amount=self._augmentation.color, seed=seed)
        return normalize(images, self.contract.preprocessing)

    def _scale_boxes(self, dataset: BoxDataset) -> list[TrueBoxes]:
        """Bring boxes into shares of the input, as the model's own resizing places them."""
        spec = TensorSpec(name="image", shape=(1, *self.size, 3), dtype="uint8")
        preprocessor = Preprocessor(self.contract.preprocessing, spec)
        scale = np.array(self.size * 2, np.float32)
        scaled = []
        for index, header in enumerate(read_headers(dataset.files)):
            if not isinstance(header, ImageHeader):
                raise DataError("an image can not be read", received=header)
            boxes = (
                preprocessor.geometry(header.upright_size).to_input(dataset.boxes[index]) / scale
            )
            scaled.append(
                TrueBoxes(
                    boxes=boxes,
                    classes=dataset.classes[index],
                    ignored=dataset.ignored[index],
                    crowd=dataset.crowd[index],
                    areas=dataset.areas[index],
                )
            )
        return scaled
