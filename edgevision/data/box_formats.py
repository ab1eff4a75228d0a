"""The formats in which boxes come."""

from __future__ import annotations

from edgevision.data.annotations import join_annotations
from edgevision.data.coco import find_coco_boxes
from edgevision.data.recognition import Kind
from edgevision.data.scene_records import find_scene_boxes
from edgevision.data.voc import find_voc

BOXES = Kind(
    name="boxes",
    finders=(find_scene_boxes, find_voc, find_coco_boxes),
    join=join_annotations,
    forms="boxes come as Pascal VOC (Annotations/*.xml and JPEGImages), COCO (instances*.json and "
    "images) or scenes.json",
)
