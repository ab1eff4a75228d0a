"""One classifier quantized by several tools, and by edgevision step by step, as a table.

Run it with ``python benchmarks/peers/quantize_classifier.py MODEL --calibration DIR --data DIR`` in
an environment with the ``tf`` and ``quantize`` extras. MODEL is a Keras file, or a float
``.tflite`` (then TensorFlow's own converter, which needs the Keras model, has no row).
Agreement is the share of images with the float file's answer; times are one run each, without
imports, so compare them within one table only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edgevision.converters.convert import convert
from edgevision.data.batches import iterate_batches
from edgevision.data.folders import ImageDataset, read_dataset
from edgevision.data.images import list_images
from edgevision.data.preprocess import Preprocessor
from edgevision.graph.contracts import attach_contract, complete_contract, read_contract
from edgevision.graph.onnx import read_onnx
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.engine import load_engine
from edgevision.quantization.quantize import quantize
from edgevision.quantization.schemes import create_recipe
from edgevision.runtime.evaluate import collect_scores, evaluate_classifier
from edgevision.runtime.load import load
from edgevision.specs import Scheme

Array = np.ndarray[Any, Any]

REWRITES = ["no_ops", "hard_swish", "constant_arithmetic"]
POOLED = [*REWRITES, "global_pooling"]
LAYERS = ["compensation", "rounding", "bias_correction"]
EQUALIZED = [*POOLED, "activation_equalization", *LAYERS]
SPARE = [*EQUALIZED, "spare_channels"]
PER_TENSOR = {"scheme": "int8-per-tensor"}
OURS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("edgevision: ranges", {"steps": REWRITES}),
    ("+ global pooling", {"steps": POOLED}),
    ("+ bias correction", {"steps": [*POOLED, "bias_correction"]}),
    ("+ rounding", {"steps": [*POOLED, "rounding", "bias_correction"]}),
    ("+ compensation", {"steps": [*POOLED, *LAYERS]}),
    ("+ equalization", {"steps": EQUALIZED}),
    ("+ spare channels", {"steps": SPARE}),
    ("+ added channels", {"steps": [*SPARE, "added_channels"]}),
    ("+ logit clipping: int8", {}),
    ("int8-per-tensor, ranges", {**PER_TENSOR, "steps": POOLED}),
    ("+ repairs of layers", {**PER_TENSOR, "steps": [*POOLED, *LAYERS]}),
    ("+ dead channels", {**PER_TENSOR, "steps": [*POOLED, "dead_channels", *LAYERS]}),
    ("+ equalization, other channels: int8-per-tensor", PER_TENSOR),
    ("int16x8, ranges", {"scheme": "int16x8", "steps": []}),
    ("int16x8", {"scheme": "int16x8"}),
    ("dynamic", {"scheme": "dynamic"}),
    ("float16", {"scheme": "float16"}),
)
OURS_IN_ONNX: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ranges", {"steps": []}),
    ("repairs of layers", {"steps": LAYERS}),
    ("int8", {}),
    ("int8-per-tensor", PER_TENSOR),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all rows share."""

    float_file: Path
    onnx_file: Path
    keras_model: Any
    calibration: Path
    files: Sequence[Path]
    dataset: ImageDataset | None
    work: Path
    contract: dict[str, Any] = field(default_factory=dict)

    def read_inputs(self) -> list[Array]:
        """Return the calibration images as inputs of the float model."""
        graph = read_tflite(self.float_file)
        contract = complete_contract(read_contract(self.float_file), graph, self.contract)
        preprocessor = Preprocessor(contract.preprocessing, graph.input_specs()[0])
        return list(iterate_batches(list_images(self.calibration), preprocessor))


def convert_keras(model: Any) -> bytes:
    """Convert to float with TensorFlow, batch 1."""
    import keras
    import tensorflow as tf

    fixed = keras.Input(shape=model.input_shape[1:], batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    return bytes(converter.convert())


def quantize_with_tensorflow(setting: Setting, output: Path) -> float:
    """TFLiteConverter's full int8 post-training quantization."""
    import tensorflow as tf

    images = setting.read_inputs()
    converter = tf.lite.TFLiteConverter.from_keras_model(setting.keras_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    start = time.perf_counter()
    model = converter.convert()
    seconds = time.perf_counter() - start
    save(setting, model, output)
    return seconds


def quantize_with_engine(setting: Setting, output: Path) -> float:
    """Run ai-edge-quantizer as its documentation says, with its own calibration."""
    quantizer = load_engine()
    images = setting.read_inputs()
    start = time.perf_counter()
    engine = quantizer.Quantizer(str(setting.float_file), create_recipe(Scheme.INT8))
    graph = read_tflite(setting.float_file)
    name, (inputs, _) = next(iter(graph.signatures.items()))
    argument = next(iter(inputs))
    ranges = engine.calibrate({name: [{argument: image} for image in images]})
    model = engine.quantize(ranges, enable_progress_report=False).quantized_model
    seconds = time.perf_counter() - start
    save(setting, bytes(model), output)
    return seconds


def quantize_with_onnxruntime(setting: Setting, output: Path) -> float:
    """ONNX Runtime's static quantization with its defaults, the same network as ONNX."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    from edgevision.graph.contracts import attach_onnx_contract

    images = setting.read_inputs()
    graph = read_onnx(setting.onnx_file)
    name = graph.input_specs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.rest, None)
            return None if image is None else {name: image}

    start = time.perf_counter()
    quantize_static(str(setting.onnx_file), str(output), Reader(), quant_format=QuantFormat.QDQ)
    seconds = time.perf_counter() - start
    contract = complete_contract(read_contract(setting.onnx_file), graph, setting.contract)
    output.write_bytes(attach_onnx_contract(output.read_bytes(), contract))
    return seconds


def quantize_with_edgevision(setting: Setting, output: Path, options: dict[str, Any]) -> float:
    """Run our own pipeline with some steps switched off."""
    source = setting.onnx_file if output.suffix == ".onnx" else setting.float_file
    result = quantize(
        source, output, calibration=setting.calibration, **setting.contract, **options
    )
    return result.seconds


def save(setting: Setting, model: bytes, output: Path) -> None:
    """Write a peer's model with the float file's contract, so that it is fed the same images."""
    graph = read_tflite(setting.float_file)
    contract = complete_contract(read_contract(setting.float_file), graph, setting.contract)
    output.write_bytes(attach_contract(model, contract))


def list_rows(setting: Setting) -> list[tuple[str, Callable[[Path], float]]]:
    """Name the tools in the order of the table."""
    rows: list[tuple[str, Callable[[Path], float]]] = []
    if setting.keras_model is not None:
        rows.append(("TensorFlow int8", partial(quantize_with_tensorflow, setting)))
    if read_tflite(setting.float_file).signatures:
        rows.append(("ai-edge-quantizer", partial(quantize_with_engine, setting)))
    for name, options in OURS:
        rows.append((name, partial(quantize_with_edgevision, setting, options=options)))
    rows.append(("ONNX: onnxruntime static", partial(quantize_with_onnxruntime, setting)))
    for name, options in OURS_IN_ONNX:
        ours = partial(quantize_with_edgevision, setting, options=options)
        rows.append((f"ONNX: edgevision {name}", ours))
    return rows


def measure(setting: Setting, file: Path) -> tuple[float | None, Array]:
    """Return top-1, where there are labels, and the answers of a file."""
    classifier: Any = load(file, **setting.contract)
    dataset = setting.dataset
    top1 = evaluate_classifier(classifier, dataset).top1 if dataset is not None else None
    return top1, collect_scores(classifier, setting.files).argmax(axis=1)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unlabelled", action="store_true", help="measure agreement only")
    parser.add_argument("--markdown", action="store_true", help="print rows of a Markdown table")
    parser.add_argument("--only", default="", help="only the rows whose names hold this text")
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--crop-fraction", type=float)
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace, work: Path) -> Setting:
    """Make the float file, and read the labelled images."""
    keras_model = None
    float_file: Path = options.model
    if float_file.suffix != ".tflite":
        from edgevision.converters.load import load_keras_model

        keras_model = load_keras_model(options.model)
        float_file = work / "float.tflite"
        float_file.write_bytes(convert_keras(keras_model))
    onnx_file = work / "float.onnx"
    given = {"mean": options.mean, "std": options.std, "crop_fraction": options.crop_fraction}
    contract = {key: value for key, value in given.items() if value is not None}
    convert(float_file, onnx_file, **contract)
    labels = load(float_file, **contract).contract.labels
    dataset = None if options.unlabelled else read_dataset(options.data, labels=labels)
    return Setting(
        float_file=float_file,
        onnx_file=onnx_file,
        keras_model=keras_model,
        calibration=options.calibration,
        files=list_images(options.data) if dataset is None else dataset.files,
        dataset=dataset,
        work=work,
        contract=contract,
    )


def show(title: str, rows: Sequence[Sequence[str]], *, markdown: bool) -> None:
    """Print the table."""
    columns = ("", "top-1 %", "drop", "agreement", "KiB", "seconds")
    if markdown:
        lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Quantize with every tool, measure, and print."""
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        setting = prepare(options, Path(folder))
        load_engine()  # its import is not part of any row's time
        top1, expected = measure(setting, setting.float_file)
        size = setting.float_file.stat().st_size / 1024
        shown = "" if top1 is None else f"{100 * top1:.2f}"
        rows = [("float32", shown, "", "", f"{size:.0f}", "")]
        for name, run in list_rows(setting):
            if options.only not in name:
                continue
            suffix = ".onnx" if name.startswith("ONNX") else ".tflite"
            output = Path(folder) / f"quantized{suffix}"
            seconds = run(output)
            reached, answers = measure(setting, output)
            drop = None if top1 is None or reached is None else 100 * (top1 - reached)
            rows.append(
                (
                    name,
                    "" if reached is None else f"{100 * reached:.2f}",
                    "" if drop is None else f"{drop:.2f}",
                    f"{np.mean(answers == expected):.3f}",
                    f"{output.stat().st_size / 1024:.0f}",
                    f"{seconds:.1f}",
                )
            )
    title = f"{options.model.name}, calibrated on {options.calibration}"
    show(title, rows, markdown=options.markdown)


if __name__ == "__main__":
    main()
