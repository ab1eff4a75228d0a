"""A thousand MobileNet configurations profiled, beside the same question asked of Keras.

Run it with ``python benchmarks/peers/profile_thousand.py`` in an environment with the ``tf``
extra. edgevision answers all of them; ``keras.applications`` has to build each network, so it
answers an even sample, from which its time for all is extrapolated. Both answers are compared.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

import edgevision as ev

Row = tuple[str, float, int, int]

# keras.applications builds its ImageNet head for any number of classes; V3 takes any alpha.
FAMILIES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")
ALPHAS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4)
SIZES = (96, 128, 160, 192, 224, 256)
CLASSES = (2, 5, 10, 100, 200, 1000)


def list_configurations(count: int) -> list[Row]:
    """Return ``count`` different configurations, spread over all combinations."""
    every = list(itertools.product(FAMILIES, ALPHAS, SIZES, CLASSES))
    count = min(count, len(every))
    return [every[i * len(every) // count] for i in range(count)]


def profile_with_edgevision(row: Row) -> tuple[int, int]:
    """Return MACs and parameters."""
    name, alpha, size, classes = row
    result = ev.profile(name, alpha=alpha, input_size=size, num_classes=classes)
    return result.macs, result.params


def profile_with_keras(row: Row) -> tuple[int, int]:
    """Build the network with keras.applications and count over its layers."""
    import keras

    name, alpha, size, classes = row
    builders: dict[str, Callable[..., Any]] = {
        "mobilenet_v1": keras.applications.MobileNet,
        "mobilenet_v2": keras.applications.MobileNetV2,
        "mobilenet_v3_small": keras.applications.MobileNetV3Small,
        "mobilenet_v3_large": keras.applications.MobileNetV3Large,
    }
    model = builders[name](input_shape=(size, size, 3), alpha=alpha, classes=classes, weights=None)
    macs = sum(count_layer(keras, layer) for layer in model.layers)
    keras.utils.clear_session(free_memory=False)
    return macs, model.count_params()


def count_layer(keras: Any, layer: Any) -> int:
    """Count multiply-accumulates of one convolution or dense layer."""
    if not isinstance(
        layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense
    ):
        return 0
    positions = 1
    for dim in layer.output.shape[1:-1]:
        positions *= dim
    weights = 1
    for dim in layer.kernel.shape:
        weights *= dim
    return positions * weights


@dataclass(frozen=True)
class Run:
    """One tool's answers, with wall-clock time and the processor's, which a busy machine spares."""

    answers: list[tuple[int, int]]
    seconds: float
    cpu_seconds: float


def measure(profile: Callable[[Row], tuple[int, int]], rows: list[Row]) -> Run:
    """Profile all rows; the first runs once before the clock starts."""
    profile(rows[0])
    start, cpu_start = time.perf_counter(), time.process_time()
    answers = [profile(row) for row in rows]
    return Run(answers, time.perf_counter() - start, time.process_time() - cpu_start)


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=12, help="networks that Keras builds")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    rows = list_configurations(options.count)
    ours = measure(profile_with_edgevision, rows)
    sample = rows[:: max(len(rows) // options.sample, 1)][: options.sample]
    theirs = measure(profile_with_keras, sample)
    known = dict(zip(rows, ours.answers, strict=True))
    equal = sum(known[row] == answer for row, answer in zip(sample, theirs.answers, strict=True))

    table = Table(title=f"MACs and parameters of {len(rows)} MobileNet configurations")
    columns = ("tool", "networks", "seconds", "CPU seconds", "ms each", f"seconds for {len(rows)}")
    for column in columns:
        table.add_column(column, justify="left" if column == "tool" else "right")
    for tool, run, note in (
        ("edgevision profile", ours, ""),
        ("keras.applications", theirs, " (extrapolated)"),
    ):
        each = run.seconds / len(run.answers)
        table.add_row(
            tool,
            str(len(run.answers)),
            f"{run.seconds:.2f}",
            f"{run.cpu_seconds:.2f}",
            f"{each * 1e3:.2f}",
            f"{each * len(rows):.2f}{note}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"edgevision also plans activation memory and lists every layer; importing TensorFlow is "
        f"not in Keras's time. Equal answers: {equal} of {len(sample)}."
    )


if __name__ == "__main__":
    main()
