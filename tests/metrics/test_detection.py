from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest

from edgevision.errors import BackendUnavailableError, DataError, InvalidConfigError
from edgevision.metrics.detection import (
    FoundBoxes,
    TrueBoxes,
    box_iou,
    measure_coco,
    measure_voc,
)

UNIT = (0.0, 0.0, 10.0, 10.0)
FAR = (50.0, 50.0, 60.0, 60.0)
NOWHERE = (200.0, 200.0, 210.0, 210.0)


def true(
    *boxes: tuple[float, ...],
    classes: Sequence[int] = (),
    ignored: Sequence[int] = (),
    crowd: Sequence[int] = (),
) -> TrueBoxes:
    """Boxes of class 0; ``ignored`` and ``crowd`` are indices."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.arange(len(array))
    return TrueBoxes(
        boxes=array,
        classes=np.array(classes or [0] * len(array), np.int64),
        ignored=np.isin(places, (*ignored, *crowd)),
        crowd=np.isin(places, crowd),
        areas=(array[:, 2:] - array[:, :2]).prod(axis=1),
    )


def found(*rows: tuple[tuple[float, ...], float], classes: Sequence[int] = ()) -> FoundBoxes:
    return FoundBoxes(
        boxes=np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        classes=np.array(classes or [0] * len(rows), np.int64),
        scores=np.array([score for _, score in rows], np.float32),
    )


def draw_set(seed: int, num_images: int = 12, num_classes: int = 3):
    """Draw random truth, and boxes found near it and elsewhere."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> np.ndarray:
        corner = rng.uniform(0, 300, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(8, 180, (count, 2))], axis=1)

    truth, answers = [], []
    for _ in range(num_images):
        count = int(rng.integers(0, 8))
        boxes = draw(count)
        ignored = rng.random(count) < 0.2
        kinds = rng.integers(0, num_classes, count)
        truth.append(
            TrueBoxes(
                boxes=boxes.astype(np.float32),
                classes=kinds,
                ignored=ignored,
                crowd=ignored & (rng.random(count) < 0.5),
                areas=((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * 0.7).astype(np.float32),
            )
        )
        near = np.concatenate([boxes + rng.normal(0, 4, boxes.shape)] * 2)
        others = draw(6)
        answers.append(
            FoundBoxes(
                boxes=np.concatenate([near, others]).astype(np.float32),
                classes=np.concatenate([kinds, kinds, rng.integers(0, num_classes, 6)]),
                scores=rng.random(2 * count + 6).astype(np.float32),
            )
        )
    return truth, answers


def test_overlap_of_boxes() -> None:
    overlap = box_iou([UNIT, FAR], [(0, 0, 10, 5), (5, 5, 15, 15), (10, 0, 20, 10), FAR])
    expected = [[50 / 100, 25 / 175, 0, 0], [0, 0, 0, 1]]
    assert overlap == pytest.approx(np.array(expected))
    assert box_iou(np.zeros((0, 4)), [UNIT]).shape == (0, 1)
    assert box_iou([(3, 3, 3, 3)], [(3, 3, 3, 3)]).tolist() == [[0]]
    assert box_iou([(5, 5, 1, 1)], [UNIT]).tolist() == [[0]]


def test_average_precision_by_hand() -> None:
    # Hit, miss, hit of three objects: precisions 1, 1/2, 2/3 at recalls 1/3, 1/3, 2/3.
    truth = [true(UNIT, FAR), true(UNIT)]
    answers = [found((UNIT, 0.9), (FAR, 0.5)), found((NOWHERE, 0.7))]
    every = measure_voc(truth, answers, 1)
    assert every.map == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # Recalls 0 to 0.3 see precision 1, recalls 0.4 to 0.6 see 2/3, the others nothing.
    eleven = measure_voc(truth, answers, 1, eleven_point=True)
    assert eleven.map == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


def test_precision_is_the_best_at_that_recall_or_above() -> None:
    # Miss, hit, hit: precisions 0, 1/2, 2/3; the second hit lifts the first.
    answers = [found((NOWHERE, 0.9), (UNIT, 0.8), (FAR, 0.7))]
    assert measure_voc([true(UNIT, FAR)], answers, 1).map == pytest.approx(2 / 3)


def test_eleven_point_counts_a_recall_that_is_just_reached() -> None:
    # 3 of 10 objects: recall is 0.3, and 0.1 + 0.2 is more in floating point.
    boxes = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0) for i in range(10)]
    answers = [found(*((box, 0.9) for box in boxes[:3]))]
    result = measure_voc([true(*boxes)], answers, 1, eleven_point=True)
    assert result.map == pytest.approx(4 / 11)


def test_second_box_on_an_object_is_a_miss() -> None:
    answers = [found((UNIT, 0.9), (UNIT, 0.8), (FAR, 0.7))]
    assert measure_voc([true(UNIT, FAR)], answers, 1).map == pytest.approx((1 + 2 / 3) / 2)


def test_the_surest_box_wins_whatever_its_place() -> None:
    shifted = (0.0, 0.0, 10.0, 8.0)
    answers = [found((UNIT, 0.5), (shifted, 0.9))]
    assert measure_voc([true(UNIT)], answers, 1).map == 1
    answers = [found((NOWHERE, 0.5), (shifted, 0.9))]
    assert measure_voc([true(UNIT)], answers, 1).map == 1


def test_overlap_at_the_threshold_is_a_hit() -> None:
    half = (0.0, 0.0, 10.0, 5.0)
    assert measure_voc([true(UNIT)], [found((half, 0.9))], 1).map == 1
    assert measure_voc([true(UNIT)], [found((half, 0.9))], 1, iou_threshold=0.51).map == 0


def test_difficult_objects_are_neither_hit_nor_miss() -> None:
    truth = [true(UNIT, FAR, ignored=[1])]
    assert measure_voc(truth, [found((FAR, 0.9), (FAR, 0.85), (UNIT, 0.8))], 1).map == 1
    assert measure_voc(truth, [found((UNIT, 0.8))], 1).map == 1
    assert np.isnan(measure_voc([true(UNIT, ignored=[0])], [found((UNIT, 0.9))], 1).map)


def test_boxes_in_a_crowd_do_not_count() -> None:
    crowd = (100.0, 100.0, 200.0, 200.0)
    truth = [true(UNIT, crowd, crowd=[1])]
    inside, half = (110.0, 110.0, 120.0, 120.0), (95.0, 110.0, 105.0, 120.0)
    for box in (inside, half):
        assert measure_voc(truth, [found((box, 0.9), (box, 0.9), (UNIT, 0.8))], 1).map == 1
    outside = (90.0, 110.0, 101.0, 120.0)
    answers = [found((outside, 0.9), (outside, 0.9), (UNIT, 0.8))]
    assert measure_voc(truth, answers, 1).map == pytest.approx(1 / 3)
    # A true box in a crowd is still found, and once only.
    truth = [true(UNIT, (0.0, 0.0, 100.0, 100.0), crowd=[1])]
    assert measure_voc(truth, [found((UNIT, 0.9))], 1).map == 1


def test_classes_do_not_mix_and_absent_ones_are_left_out() -> None:
    truth = [true(UNIT, FAR, classes=[0, 2])]
    answers = [found((UNIT, 0.9), (UNIT, 0.8), (FAR, 0.7), classes=[0, 1, 0])]
    result = measure_voc(truth, answers, 3)
    assert result.per_class[[0, 2]].tolist() == [1, 0]
    assert np.isnan(result.per_class[1])
    assert result.map == 0.5
    assert result.to_dict() == {"map": 0.5, "per_class": [1.0, None, 0.0]}
    assert json.loads(json.dumps(result.to_dict()))


def test_nothing_found_and_nothing_to_find() -> None:
    assert measure_voc([true(UNIT)], [found()], 1).map == 0
    assert np.isnan(measure_voc([true()], [found((UNIT, 0.9))], 1).map)
    assert measure_voc([], [], 2).to_dict() == {"map": None, "per_class": [None, None]}


def test_arguments_are_checked() -> None:
    with pytest.raises(InvalidConfigError, match="iou_threshold=0"):
        measure_voc([true(UNIT)], [found()], 1, iou_threshold=0)
    with pytest.raises(DataError, match="1 and 2 images"):
        measure_voc([true(UNIT)], [found(), found()], 1)
    with pytest.raises(DataError, match="3 to 3, 2 classes"):
        measure_voc([true(UNIT)], [found((UNIT, 0.5), classes=[3])], 2)
    with pytest.raises(DataError, match="1 to 1, 1 classes"):
        measure_coco([true(UNIT, classes=[1])], [found()], 1)


def average_by_brute_force(truth, answers, label: int, threshold: float, eleven: bool) -> float:
    """The definition, word by word and slowly."""
    rows = [
        (score, image, box)
        for image, boxes in enumerate(answers)
        for score, box, kind in zip(boxes.scores, boxes.boxes, boxes.classes, strict=True)
        if kind == label
    ]
    total = sum(int(((b.classes == label) & ~b.ignored).sum()) for b in truth)
    taken: set[tuple[int, int]] = set()
    hits = misses = 0
    curve = []
    for _, image, box in sorted(rows, key=lambda row: -row[0]):
        objects = truth[image]
        overlaps = [
            (box_iou([box], [b])[0, 0], index)
            for index, b in enumerate(objects.boxes)
            if objects.classes[index] == label and not objects.crowd[index]
        ]
        best, index = max(overlaps, default=(0.0, -1))
        if best >= threshold:
            if objects.ignored[index]:
                continue
            hits, misses = (hits, misses + 1) if (image, index) in taken else (hits + 1, misses)
            taken.add((image, index))
        else:
            area = (box[2] - box[0]) * (box[3] - box[1])
            in_crowd = False
            for index in np.flatnonzero(objects.crowd & (objects.classes == label)):
                low = np.maximum(box[:2], objects.boxes[index, :2])
                high = np.minimum(box[2:], objects.boxes[index, 2:])
                in_crowd |= np.prod(np.maximum(high - low, 0)) >= threshold * area
            if in_crowd:
                continue
            misses += 1
        curve.append((hits / total, hits / (hits + misses)))
    if eleven:
        levels = [max((p for r, p in curve if r >= t / 10 - 1e-12), default=0) for t in range(11)]
        return sum(levels) / 11
    area, reached = 0.0, 0.0
    for index, (recall, _) in enumerate(curve):
        area += (recall - reached) * max(p for _, p in curve[index:])
        reached = recall
    return area


@pytest.mark.parametrize("eleven", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_average_precision_equals_its_definition(threshold: float, eleven: bool) -> None:
    for seed in range(4):
        truth, answers = draw_set(seed)
        result = measure_voc(truth, answers, 3, iou_threshold=threshold, eleven_point=eleven)
        for label in range(3):
            expected = average_by_brute_force(truth, answers, label, threshold, eleven)
            assert result.per_class[label] == pytest.approx(expected), (seed, label)


def test_coco_by_hand() -> None:
    pytest.importorskip("pycocotools")
    # Overlap 8/10 is enough for the thresholds 0.5 to 0.8, seven of ten.
    wide = (0.0, 0.0, 10.0, 8.0)
    result = measure_coco([true(UNIT)], [found((wide, 0.9))], 1)
    assert [result.map50, result.map75] == pytest.approx([1, 1])
    assert result.map == pytest.approx(7 / 10)
    assert result.map_small == pytest.approx(7 / 10)
    assert np.isnan(result.map_medium)
    # Hit, miss, hit of two objects: precision 1 up to recall 1/2 (51 of 101 points), then 2/3.
    answers = [found((UNIT, 0.9), (NOWHERE, 0.8), (FAR, 0.7))]
    result = measure_coco([true(UNIT, FAR)], answers, 1)
    assert result.map == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_coco_ignores_crowds_and_difficult_objects() -> None:
    pytest.importorskip("pycocotools")
    crowd = (100.0, 100.0, 200.0, 200.0)
    inside = ((110.0, 110.0, 120.0, 120.0), 0.95)
    truth = [true(UNIT, FAR, crowd, ignored=[1], crowd=[2])]
    answers = [found(inside, inside, (FAR, 0.93), (UNIT, 0.9))]
    assert measure_coco(truth, answers, 1).map == pytest.approx(1)
    assert measure_coco(truth, [found((UNIT, 0.9))], 1).map == pytest.approx(1)
    # A second box on a difficult object is a miss; in a crowd it is not.
    answers = [found((FAR, 0.93), (FAR, 0.92), (UNIT, 0.9))]
    assert measure_coco(truth, answers, 1).map == pytest.approx(1 / 2)


def test_coco_tells_small_from_large_by_the_noted_area() -> None:
    pytest.importorskip("pycocotools")
    side = 50.0
    boxes = true((0.0, 0.0, side, side))
    thin = TrueBoxes(
        boxes=boxes.boxes,
        classes=boxes.classes,
        ignored=boxes.ignored,
        crowd=boxes.crowd,
        areas=np.array([1000], np.float32),
    )
    answers = [found(((0.0, 0.0, side, side), 0.9))]
    assert measure_coco([boxes], answers, 1).map_medium == pytest.approx(1)
    assert measure_coco([thin], answers, 1).map_small == pytest.approx(1)
    assert np.isnan(measure_coco([thin], answers, 1).map_medium)


def test_coco_leaves_out_absent_classes_and_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pycocotools")
    truth = [true(UNIT, classes=[2]), true()]
    answers = [found((UNIT, 0.9), (UNIT, 0.8), classes=[2, 0]), found((UNIT, 0.7), classes=[1])]
    result = measure_coco(truth, answers, 3)
    assert np.isnan(result.per_class[:2]).all()
    assert [result.per_class[2], result.per_class50[2], result.map] == pytest.approx([1, 1, 1])
    assert result.to_dict()["per_class"] == [None, None, pytest.approx(1)]
    assert json.loads(json.dumps(result.to_dict()))["map_large"] is None
    assert measure_coco([true(UNIT)], [found()], 1).map == 0
    assert np.isnan(measure_coco([true()], [found((UNIT, 0.9))], 1).map)
    assert capsys.readouterr().out == ""


def test_coco_agrees_with_pycocotools_alone() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    truth, answers = draw_set(7, num_images=20)
    # What pycocotools can not say by itself is left to the other tests.
    truth = [
        TrueBoxes(boxes=t.boxes, classes=t.classes, ignored=t.crowd, crowd=t.crowd, areas=t.areas)
        for t in truth
    ]
    index = coco.COCO()
    rows = [
        (image, kind, box, crowd, area)
        for image, t in enumerate(truth)
        for kind, box, crowd, area in zip(t.classes, t.boxes, t.crowd, t.areas, strict=True)
    ]
    index.dataset = {
        "images": [{"id": i + 1} for i in range(20)],
        "categories": [{"id": i + 1} for i in range(3)],
        "annotations": [
            {
                "id": number + 1,
                "image_id": image + 1,
                "category_id": int(kind) + 1,
                "bbox": [float(v) for v in (box[1], box[0], box[3] - box[1], box[2] - box[0])],
                "iscrowd": int(crowd),
                "area": float(area),
            }
            for number, (image, kind, box, crowd, area) in enumerate(rows)
        ],
    }
    results = [
        {
            "image_id": image + 1,
            "category_id": int(kind) + 1,
            "bbox": [float(v) for v in (box[1], box[0], box[3] - box[1], box[2] - box[0])],
            "score": float(score),
        }
        for image, a in enumerate(answers)
        for kind, box, score in zip(a.classes, a.boxes, a.scores, strict=True)
    ]
    with redirect_stdout(StringIO()):
        index.createIndex()
        evaluation = cocoeval.COCOeval(index, index.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    r = measure_coco(truth, answers, 3)
    measured = [r.map, r.map50, r.map75, r.map_small, r.map_medium, r.map_large]
    assert measured == pytest.approx(evaluation.stats[:6].tolist(), abs=1e-6)


def test_missing_pycocotools_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("pycocotools")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(BackendUnavailableError, match=r"edgevision\[eval\]"):
        measure_coco([true(UNIT)], [found((UNIT, 0.9))], 1)
    assert measure_voc([true(UNIT)], [found((UNIT, 0.9))], 1).map == 1
