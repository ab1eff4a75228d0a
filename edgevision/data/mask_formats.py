"""The formats in which masks come."""

from __future__ import annotations

from edgevision.data.coco import find_coco_masks
from edgevision.data.mask_annotations import join_masks
from edgevision.data.mask_folders import find_mask_folders
from edgevision.data.recognition import Kind
from edgevision.data.scene_records import find_scene_masks

MASKS = Kind(
    name="masks",
    finders=(find_scene_masks, find_mask_folders, find_coco_masks),
    join=join_masks,
    forms="masks come as folders images and masks (or JPEGImages and SegmentationClass), COCO "
    "(instances*.json and images) or scenes.json",
)
