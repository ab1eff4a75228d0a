"""What a caller of ``quantize`` wants: checked, and the same for every format."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevision.contract import Contract
from edgevision.errors import CalibrationError, InvalidConfigError
from edgevision.graph.graph import Graph
from edgevision.quantization.gate import EvalData
from edgevision.quantization.images import CalibrationImages, open_images
from edgevision.quantization.pipeline import Options
from edgevision.quantization.target import Target
from edgevision.specs import RangeMethod


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One float file to quantize.

    Attributes:
        model: The float file.
        output: The file to write.
        options: How.
        target: What has to hold.
        named_steps: Whether the caller named the steps, or takes what there is.
        calibration: Folder of typical images.
        limit: Use at most this many of them.
        skip_broken: Leave out images that can not be decoded.
        data: Labelled images.
        contract: What the file does not state, or states wrong.
        unsigned: Inputs and outputs are uint8 instead of int8.
        diagnose: Whether every layer is measured at the end.
        start: When it came, in seconds of ``time.perf_counter``.
    """

    model: Path
    output: Path
    options: Options
    target: Target
    named_steps: bool = False
    calibration: str | Path | None = None
    limit: int | None = None
    skip_broken: bool = False
    data: EvalData | None = None
    contract: Mapping[str, Any] = field(default_factory=dict)
    unsigned: bool = False
    diagnose: bool = False
    start: float = field(default_factory=time.perf_counter)

    def open_images(
        self, contract: Contract, graph: Graph, *, otherwise: str = ""
    ) -> CalibrationImages | None:
        """Open the calibration folder; ``None`` where none is named and none is needed.

        Args:
            contract: How images become inputs.
            graph: The network.
            otherwise: What serves in place of images, for the remedy.

        Raises:
            CalibrationError: Images are needed and not given.
            InvalidConfigError: Images are given and of no use.
            DataError: There is no image in the folder.
        """
        options = self.options
        if options.batch_norm is not None:
            _check_needs_no_images(self.calibration, options.ranges)
            return None
        if self.calibration is None and not options.row.needs_ranges:
            return None
        return self.require_images(contract, graph, otherwise=otherwise)

    def require_images(
        self, contract: Contract, graph: Graph, *, otherwise: str = ""
    ) -> CalibrationImages:
        """Open the calibration folder; see ``open_images``.

        Raises:
            CalibrationError: None is named.
            DataError: There is no image in it.
        """
        if self.calibration is None:
            raise CalibrationError(
                f"{self.options.row.scheme} needs calibration images",
                remedy=f"name a folder of typical photos with --calibration{otherwise}",
            )
        return open_images(
            contract, graph, self.calibration, limit=self.limit, skip_broken=self.skip_broken
        )


def _check_needs_no_images(calibration: str | Path | None, ranges: RangeMethod) -> None:
    if calibration is not None:
        raise InvalidConfigError(
            "ranges come from images or from batch normalization, not from both",
            received=f"calibration={calibration}",
            remedy="leave one of them out",
        )
    if ranges is not RangeMethod.MINMAX:
        raise InvalidConfigError(
            "how ranges are chosen is for images",
            received=f"ranges={ranges}",
            remedy="leave it out",
        )
