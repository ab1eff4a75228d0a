"""Above which figures a layer counts as sound; all causes share them."""

from __future__ import annotations

from edgevision.quantization.diagnosis.evidence import LayerEvidence

SOUND_DB = 27.0
"""A layer alone keeps more than this: on networks that lose nothing the worst layer has 31 dB, and
28 dB where the factors of equalized channels had to be told from the file."""

SOUND_OUTPUT_DB = 20.0
"""Outputs above this answer like the float ones: 93 % of the answers at 21 dB, 67 % at 7 dB."""


def is_below(figure: float | None, least: float) -> bool:
    """Whether a signal-to-noise ratio is known and too small."""
    return figure is not None and figure < least


def is_weak(layer: LayerEvidence) -> bool:
    """Whether a layer alone, or its median channel, lost more than a sound one does."""
    return is_below(layer.worst_db, SOUND_DB)
