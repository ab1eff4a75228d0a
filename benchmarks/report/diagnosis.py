"""The diagnosis of a quantized network as one HTML page: a plot along the depth, causes, layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.benchmarks.report.templates import render_template
from edgevision.outputs import check_writable, write_text
from edgevision.units import NOTHING, format_percent

FILE_NAME = "diagnosis.html"

_STEP_DB = 10
_LINES = (("local", "local_sqnr_db"), ("behind", "sqnr_db"))

Layer = Mapping[str, Any]


def write_figure(value: float | None, unit: str = "", digits: int = 1) -> str:
    """Write a number for people.

    >>> write_figure(12.34, " dB"), write_figure(None)
    ('12.3 dB', '–')
    """
    return NOTHING if value is None else f"{value:.{digits}f}{unit}"


def write_noise(layer: Layer) -> str:
    """Write where the noise of a layer comes from: weights / inputs / output, in percent."""
    shares = layer["noise_shares"]
    if shares is None:
        return NOTHING
    return " / ".join(f"{100 * shares[key]:.0f}" for key in ("weights", "inputs", "output"))


def write_codes(values: Mapping[str, Any]) -> str:
    """Write how many of the codes of an activation are used."""
    return f"{values['codes']} of {2 ** values['bits']}" if values["bits"] else "float"


def _write_range(values: Mapping[str, Any]) -> str:
    low, high = values["range"]
    return f"{low:.3g} … {high:.3g}"


def _write_spread(part: Mapping[str, Any] | None) -> str:
    spread = part["channel_spread"] if part else None
    return NOTHING if spread is None else f"× {spread:.1f}"


COLUMNS: tuple[tuple[str, Callable[[Layer], str]], ...] = (
    ("layer", lambda layer: str(layer["name"])),
    ("op", lambda layer: str(layer["op"])),
    ("alone", lambda layer: write_figure(layer["local_sqnr_db"], " dB")),
    ("in the network", lambda layer: write_figure(layer["sqnr_db"], " dB")),
    ("median channel", lambda layer: write_figure(layer["channel_sqnr_db"], " dB")),
    ("noise from", write_noise),
    ("range", lambda layer: _write_range(layer["output"])),
    ("clipped", lambda layer: format_percent(layer["output"]["clipped"])),
    ("codes", lambda layer: write_codes(layer["output"])),
    ("weight spread", lambda layer: _write_spread(layer["weights"])),
    ("channel spread", lambda layer: _write_spread(layer["output"])),
)
"""Heading of each column, and what stands in it."""

LEGEND = (
    ("alone", "signal-to-noise ratio of the output with this layer alone quantized"),
    ("in the network", "the same with everything before it quantized too"),
    ("median channel", "of the layer alone, over its channels: one loud channel hides the others"),
    ("noise from", "weights / inputs / output, in percent, each rounded by itself"),
    ("range", "what the integers of the output can express"),
    ("clipped", "share of the float values beyond it"),
    ("codes", "different integers that occur"),
    ("weight spread, channel spread", "widest channel of weights and of outputs, over the median"),
)


def check_reportable(folder: str | Path) -> None:
    """Fail before anything is measured when the page could not be written afterwards.

    Raises:
        BackendUnavailableError: jinja2 is missing.
        OutputError: The folder can not be written.
    """
    import_backend("jinja2")
    check_writable(Path(folder) / FILE_NAME)


def write_diagnosis(document: Mapping[str, Any], folder: str | Path, *, title: str) -> Path:
    """Write the page into a folder; an existing one is replaced.

    Args:
        document: ``Diagnosis.to_dict()``.
        folder: Created when missing.
        title: Heading of the page.

    Raises:
        BackendUnavailableError: jinja2 is missing.
        OutputError: The folder can not be written.
    """
    place = Path(folder) / FILE_NAME
    write_text(place, render_diagnosis(document, title=title))
    return place


def render_diagnosis(document: Mapping[str, Any], *, title: str) -> str:
    """Return the page.

    Args:
        document: ``Diagnosis.to_dict()``.
        title: Its heading.

    Raises:
        BackendUnavailableError: jinja2 is missing.
    """
    layers = document["layers"]
    return render_template(
        "diagnosis.html",
        title=title,
        verdict=document["verdict"],
        sound=document["sound"] and not document["findings"],
        images=document["images"],
        float_ops=document["float_ops"],
        rescaled=document["rescaled_layers"],
        unpaired=document["unpaired_layers"],
        findings=group_findings(document["findings"]),
        sound_db=document["sound_db"],
        plot=make_plot(layers, document["sound_db"]),
        headings=[heading for heading, _ in COLUMNS],
        rows=[[write(layer) for _, write in COLUMNS] for layer in layers],
        legend=LEGEND,
    )


def group_findings(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gather the layers that have each cause, in the order in which the causes come first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        groups.setdefault(finding["cause"], []).append(finding)
    return [
        {
            "title": group[0]["title"],
            "remedy": group[0]["remedy"],
            "places": [
                {"layer": f["layer"] or "the network", "evidence": f["evidence"]} for f in group
            ],
        }
        for group in groups.values()
    ]


def make_plot(layers: Sequence[Layer], sound_db: float) -> dict[str, Any] | None:
    """Lay out signal-to-noise ratios along the depth, in a field of 100 × 100.

    Args:
        layers: Of the document; those that lost nothing have no point.
        sound_db: What a sound layer keeps.

    Returns:
        ``None`` where no layer has a point.
    """
    figures = [layer[key] for layer in layers for _, key in _LINES if layer[key] is not None]
    if not figures:
        return None
    low = min(0, int(min(figures) // _STEP_DB) * _STEP_DB)
    high = max(40, -int(-max(figures) // _STEP_DB) * _STEP_DB)
    across = 100 / max(len(layers) - 1, 1)

    def place(figure: float) -> float:
        return round(100 * (high - figure) / (high - low), 2)

    lines = {
        name: [
            {
                "x": round(index * across, 2),
                "y": place(layer[key]),
                "text": f"{layer['name']}: {layer[key]:.1f} dB",
            }
            for index, layer in enumerate(layers)
            if layer[key] is not None
        ]
        for name, key in _LINES
    }
    ticks = [{"y": place(db), "text": f"{db} dB"} for db in range(low, high + 1, _STEP_DB)]
    ends = (layers[0]["name"], layers[-1]["name"])
    return {"lines": lines, "ticks": ticks, "sound": place(sound_db), "ends": ends}
