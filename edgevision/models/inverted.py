"""A stack of inverted residuals: the body that MobileNetV2 and V3 share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgevision.models.blocks import Inverted, Norm, contract, expand, plan_steps
from edgevision.models.net import Features, Net, T

ExpandedChannels = Callable[[int, Inverted], int]
"""From a block's input channels and its row to its expanded channels, as its paper rounds."""


def stack_inverted(
    net: Net[T],
    x: T,
    rows: Sequence[Inverted],
    *,
    filters: Sequence[int],
    expanded: ExpandedChannels,
    norm: Norm,
    output_stride: int,
) -> Features[T]:
    """Write the blocks of ``rows``, numbered from 0, behind a stem of stride 2.

    Args:
        net: The reading.
        x: The stem's output.
        rows: One per block; the first one is not expanded.
        filters: Output channels of each block, the width multiplier applied.
        expanded: How a block's expanded channels are rounded.
        norm: Batch normalization of the family.
        output_stride: Where the network stops stepping and dilates instead.
    """
    levels, wide = {2: x}, {2: x}
    steps = plan_steps((row.stride for row in rows), reached=2, output_stride=output_stride)
    for number, (row, step, width) in enumerate(zip(rows, steps, filters, strict=True)):
        name = f"block_{number}"
        inner = x
        if number:
            inner = expand(
                net, x, expanded(net.shape_of(x)[-1], row), norm=norm, row=row, name=name
            )
        # A block's expanded map still has the resolution of its input.
        wide[step.reached // step.stride] = inner
        y = contract(net, inner, width, step, norm=norm, row=row, name=name)
        # A row that steps in the paper has no shortcut, also where dilation replaces the step.
        shortcut = row.stride == 1 and net.shape_of(x) == net.shape_of(y)
        x = net.add([x, y], name=f"{name}_add") if shortcut else y
        levels[step.reached] = x
    wide[step.reached] = x
    return Features(last=x, levels=levels, expanded=wide)
