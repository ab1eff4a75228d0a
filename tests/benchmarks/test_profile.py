from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_graphs import GraphSketch
from tiny_models import build_classifier

from edgevision.benchmarks.profile import is_model_path, profile, profile_graph
from edgevision.errors import InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat

# Of tiny_models.build_classifier: conv 3x3/2 and depthwise 3x3 on 4 filters, dense.
TINY_MACS = 4 * 4 * 3 * 3 * 3 * 4 + 4 * 4 * 3 * 3 * 4 + 4 * 3
TINY_PARAMS = (4 * 3 * 3 * 3 + 4) + (3 * 3 * 4 + 4) + (3 * 4 + 3)


def test_file(tiny_tflite: Path) -> None:
    result = profile(tiny_tflite)
    assert result.format is ModelFormat.TFLITE
    assert result.input_shape == (1, 8, 8, 3)
    assert result.macs == TINY_MACS
    assert result.params == TINY_PARAMS
    assert result.trainable_params is None
    assert result.file_bytes == tiny_tflite.stat().st_size
    assert result.uncounted_ops == {"MEAN": 1, "SOFTMAX": 1}
    assert result.dtypes == {"float32": 6}
    # Image and first feature map, then the two feature maps.
    assert result.activation_lower_bound_bytes == 4 * (8 * 8 * 3 + 4 * 4 * 4)


def test_layers_add_up(tiny_tflite: Path) -> None:
    result = profile(tiny_tflite)
    assert sum(layer.macs or 0 for layer in result.layers) == result.macs
    assert sum(layer.params for layer in result.layers) == result.params
    first = result.layers[0]
    assert (first.index, first.op, first.name) == (0, "CONV_2D", "convolved")
    assert first.output_shape == (1, 4, 4, 4)
    assert first.output_bytes == 4 * 4 * 4 * 4
    assert result.layers[-1].macs is None


def test_bytes_that_move_and_macs_per_byte(tiny_tflite: Path) -> None:
    first, *_, last = profile(tiny_tflite).layers
    weights = 4 * (4 * 3 * 3 * 3 + 4)
    assert first.moved_bytes == 4 * 8 * 8 * 3 + weights + 4 * 4 * 4 * 4
    assert first.intensity == pytest.approx((first.macs or 0) / first.moved_bytes)
    assert last.intensity is None


def test_blocks_add_up() -> None:
    result = profile("mobilenet_v2", alpha=0.35, input_size=96)
    blocks = result.group_blocks()
    assert [b.name for b in blocks[:2]] == ["stem", "block_0"]
    assert sum(b.macs for b in blocks) == result.macs
    assert sum(b.params for b in blocks) == result.params
    assert sum(b.num_layers for b in blocks) == len(result.layers)


def test_arena_of_each_planner(tiny_tflite: Path) -> None:
    result = profile(tiny_tflite)
    arenas = result.to_dict()["arena_bytes"]
    assert set(arenas) == {"tflite", "tflite_micro"}
    assert arenas["tflite_micro"] == result.peak_activation_bytes
    assert arenas["tflite"] >= result.activation_lower_bound_bytes


def test_float16_weights_change_neither_counts_nor_memory(
    tiny_tflite: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.tflite"
    half.write_bytes(build_classifier(half=True))
    a, b = profile(tiny_tflite), profile(half)
    assert (a.macs, a.params, a.peak_activation_bytes) == (
        b.macs,
        b.params,
        b.peak_activation_bytes,
    )


def test_zoo_name() -> None:
    result = profile("mobilenet_v2", alpha=0.35, input_size=96)
    assert (result.macs, result.params, result.trainable_params) == (
        11_934_128,
        1_691_208,
        1_677_128,
    )
    assert (result.format, result.file_bytes) == (None, None)
    assert result.input_shape == (1, 96, 96, 3)


def test_settings_of_a_zoo_network() -> None:
    wide = profile("mobilenet_v1", input_size=(96, 128), num_classes=7, channels=1)
    assert wide.input_shape == (1, 96, 128, 1)
    assert wide.layers[-1].output_shape == (1, 7)


def test_to_dict_is_json_with_the_agreed_keys(tiny_tflite: Path) -> None:
    values = profile(tiny_tflite).to_dict()
    assert json.loads(json.dumps(values)) == values | {"layers": list(values["layers"])}
    assert {
        "macs",
        "params",
        "trainable_params",
        "file_bytes",
        "peak_activation_bytes",
        "activation_lower_bound_bytes",
        "uncounted_ops",
        "layers",
    } <= set(values)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"alpha": 0.5}, "alpha=0.5"),
        ({"input_size": 96}, "input_size=96"),
        ({"num_classes": 2, "channels": 1}, "num_classes=2, channels=1"),
    ],
)
def test_a_file_takes_no_settings(tiny_tflite: Path, settings: dict[str, Any], shown: str) -> None:
    with pytest.raises(InvalidConfigError, match=shown):
        profile(tiny_tflite, **settings)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("mobilenet_v2", False),
        ("no_such_net", False),
        ("net.tflite", True),
        ("runs/net", True),
        (Path("mobilenet_v2"), True),
    ],
)
def test_what_is_a_path(target: str | Path, expected: bool) -> None:
    assert is_model_path(target) is expected


def test_unknown_names_list_close_ones() -> None:
    with pytest.raises(InvalidConfigError, match="mobilenet_v2"):
        profile("mobilenet_v22")


def test_impossible_size() -> None:
    with pytest.raises(InvalidConfigError):
        profile("mobilenet_v2", input_size=7)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        profile(tmp_path / "none.tflite")


def test_dynamic_input_size_is_an_error() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(-1, -1, -1, 3), sketch.tensor(-1, -1, -1, 3)
    sketch.op(OpKind.SOFTMAX, [x], [y])
    with pytest.raises(InvalidModelError, match="not fixed"):
        profile_graph(sketch.graph([x], [y]))


def test_zoo_names_need_no_array_library() -> None:
    code = (
        "import sys, edgevision as ev; ev.profile('mobilenet_v3_small');"
        "heavy = {'numpy', 'tensorflow', 'keras', 'onnx', 'ai_edge_litert', 'PIL'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """One zoo network as .keras, float32 and int8 .tflite, and .onnx."""
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("onnx")
    from edgevision.models.registry import create_model

    folder = tmp_path_factory.mktemp("formats")
    model = create_model(**ZOO)
    rng = np.random.default_rng(0)
    # Biases that are all zero would be stored once for all layers of a size.
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.weights])
    fixed = keras.Input((32, 32, 3), batch_size=1)
    static = keras.Model(fixed, model(fixed))
    paths = {name: folder / name for name in ("n.keras", "n.tflite", "int8.tflite")}
    model.save(paths["n.keras"])
    paths["n.tflite"].write_bytes(make_converter(tf, static).convert())
    quantized = make_converter(tf, static)
    quantized.optimizations = [tf.lite.Optimize.DEFAULT]
    image = rng.normal(size=(1, 32, 32, 3)).astype(np.float32)
    quantized.representative_dataset = lambda: iter([[image]])
    quantized.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    paths["int8.tflite"].write_bytes(quantized.convert())
    paths["n.onnx"] = folder / "n.onnx"
    model.export(paths["n.onnx"], format="onnx", verbose=False)
    yield paths
    keras.utils.clear_session()


ZOO: dict[str, Any] = {
    "name": "mobilenet_v1",
    "alpha": 0.25,
    "input_size": 32,
    "num_classes": 4,
}


def make_converter(tf: Any, model: Any) -> Any:
    return tf.lite.TFLiteConverter.from_keras_model(model)


# Keras and tf2onnx use names that NumPy 2 is about to drop.
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore:In the future `np.object`:FutureWarning",
    "ignore:Statistics for quantized inputs:UserWarning",
)
def test_one_network_counts_the_same_in_every_format(formats: dict[str, Path]) -> None:
    settings = {k: v for k, v in ZOO.items() if k != "name"}
    network = profile(ZOO["name"], **settings)
    found = {name: profile(path) for name, path in formats.items()}
    assert {name: p.macs for name, p in found.items()} == dict.fromkeys(found, network.macs)
    keras = found["n.keras"]
    assert (keras.params, keras.trainable_params) == (network.params, network.trainable_params)
    # Folding replaces the four BatchNorm vectors by one bias.
    channels = (network.params - network.trainable_params) // 2  # type: ignore[operator]
    folded = network.params - 3 * channels
    assert found["n.tflite"].params == found["int8.tflite"].params == folded
    peaks = {p.peak_activation_bytes for n, p in found.items() if n in ("n.keras", "n.tflite")}
    assert peaks == {network.peak_activation_bytes}
