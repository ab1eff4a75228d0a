"""What the registry knows about one network: a row of a table, written in its family's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgevision.contract import AnchorGrid, Preprocessing
from edgevision.models.config import NetworkConfig
from edgevision.models.net import Features, Net
from edgevision.specs import Task, Upsampling

Backbone = Callable[[Net[Any], Any, NetworkConfig], Features[Any]]
"""From the image to feature maps, in either reading."""

Head = Callable[[Net[Any], Features[Any], NetworkConfig], Any]
"""From feature maps to the output tensor, or to several by name."""

AnchorPlan = Callable[[tuple[int, int]], tuple[AnchorGrid, ...]]
"""From the ``(height, width)`` of a detector's input to its anchors, map after map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A weights file that ``keras.applications`` publishes.

    Attributes:
        file: Name below the family's address.
        md5: Checksum, where its publisher gives one.
    """

    file: str
    md5: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """ImageNet weights of one network.

    Attributes:
        address: Where the files lie, ending in a slash.
        files: By ``(alpha, side of the input in pixels)``.
    """

    address: str
    files: Mapping[tuple[float, int], PublishedFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One network of the zoo.

    Attributes:
        name: What users call it.
        task: What it answers.
        family: Networks of one family share a file and a paper.
        paper: arXiv number or address.
        backbone: From the image to feature maps.
        head: From feature maps to the outputs.
        dropout: Rate that the paper's reference trains with.
        input_size: ``(height, width)`` that its paper reports.
        alpha: Width multiplier that its paper reports.
        preprocessing: What the network expects of an image.
        published: ImageNet weights, where there are any; of the backbone, for a network that does
            more than classify.
        anchors: Of a detector: where it looks for objects.
        upsampling: Of a segmenter: how its decoder doubles the resolution unless asked otherwise.
    """

    name: str
    task: Task
    family: str
    paper: str
    backbone: Backbone
    head: Head
    dropout: float = 0.0
    input_size: tuple[int, int] = (224, 224)
    alpha: float = 1.0
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    published: PublishedWeights | None = None
    anchors: AnchorPlan | None = None
    upsampling: Upsampling = Upsampling.BILINEAR
