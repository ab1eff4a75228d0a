"""Runs on the GPU that Vulkan offers; ``scripts/check_gpu`` brings one where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevision.errors import DelegateError
from edgevision.runtime.gpu import GpuSession
from edgevision.runtime.sessions import open_session

MODELS = Path(__file__).parent / "models"
NETWORKS = ("mobilenet_v2", "ssd_mobilenet_v1", "unet_mobilenet_v1")
MAX_FLOAT_ERROR = 1e-4
MAX_INT8_STEPS = 2

pytestmark = pytest.mark.usefixtures("gpu")


def draw(session, seed=0):
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.uniform(-1, 1, spec.shape).astype(np.float32)
        if spec.dtype == "float32"
        else rng.integers(-128, 128, spec.shape).astype(spec.dtype)
        for spec in session.inputs
    }


def compare(path, **options):
    """Run on the CPU and on the GPU; return the largest difference of any output."""
    cpu, gpu = open_session(path), open_session(path, device="gpu", **options)
    errors = []
    for seed in range(2):
        inputs = draw(cpu, seed)
        expected, found = cpu.run(inputs), gpu.run(inputs)
        assert list(found) == list(expected)
        errors += [np.abs(found[k].astype(float) - expected[k].astype(float)).max() for k in found]
    gpu.close()
    return max(errors)


@pytest.mark.parametrize("name", ["float", "heads", "boxes", "masks"])
def test_small_models_answer_like_the_cpu(name):
    assert compare(MODELS / f"{name}.tflite", gpu_float32=True) <= MAX_FLOAT_ERROR


def test_small_int8_model_answers_like_the_cpu():
    assert compare(MODELS / "int8.tflite", gpu_float32=True) <= MAX_INT8_STEPS


def _perturb(model):
    """Give the statistics of normalization values that matter; the rest keeps its start values.

    A network of random weights that amplify makes chaos of the single steps by which two ways of
    rounding differ.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            shape = layer.get_weights()[0].shape
            scale, variance = rng.uniform(0.7, 1.3, shape), rng.uniform(0.5, 1.5, shape)
            layer.set_weights([scale, *rng.normal(0, 0.2, (2, *shape)), variance])


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    """A network of each task with weights that mean something: float and int8 file."""
    pytest.importorskip("tensorflow")
    import keras
    from PIL import Image

    from edgevision.converters.convert import convert
    from edgevision.graph.contracts import write_contract
    from edgevision.models.registry import create_model, default_contract
    from edgevision.quantization.quantize import quantize

    folder = tmp_path_factory.mktemp(request.param)
    keras.utils.set_random_seed(0)
    model = create_model(request.param, alpha=0.25, input_size=(64, 64), num_classes=3)
    _perturb(model)
    model.save(folder / "m.keras")
    contract = default_contract(request.param, labels=tuple("abc"), input_size=(64, 64))
    write_contract(folder / "m.keras", contract)
    heads = {"heads": "raw"} if request.param.startswith("ssd") else {}
    convert(folder / "m.keras", folder / "float.tflite", **heads)
    (folder / "images").mkdir()
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{seed}.png")
    quantize(folder / "float.tflite", folder / "int8.tflite", calibration=folder / "images")
    return folder


def test_networks_in_float32_answer_like_the_cpu(network, monkeypatch):
    monkeypatch.setenv("EDGEVISION_ISOLATED", "1")  # a driver that crashes may end the test
    assert compare(network / "float.tflite", gpu_float32=True) <= MAX_FLOAT_ERROR


def test_int8_networks_answer_like_the_cpu(network, monkeypatch):
    monkeypatch.setenv("EDGEVISION_ISOLATED", "1")
    assert compare(network / "int8.tflite", gpu_float32=True) <= MAX_INT8_STEPS


def test_suppression_of_boxes_stays_on_the_cpu_and_says_so():
    placement = open_session(MODELS / "boxes.tflite", device="gpu").placement()
    assert (placement.delegated_ops, placement.total_ops) == (14, 15)
    assert "CUSTOM:TFLite_Detection_PostProcess" in placement.note


def test_adapter_and_precision_are_known(gpu):
    placement = open_session(MODELS / "float.tflite", device="gpu", gpu_float32=True).placement()
    assert placement.adapter is not None
    assert (placement.adapter.name, placement.adapter.software) == (gpu.name, gpu.software)
    assert placement.adapter.precision == "float32"


def test_waiting_for_the_outputs_is_part_of_a_run():
    session = GpuSession(MODELS / "heads.tflite")
    inputs = draw(session)
    first = session.run(inputs)
    session.invoke()
    again = session.run(inputs)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert session.time_run().first_ms > 0


def test_a_model_of_custom_ops_alone_is_refused(tmp_path):
    from tiny_models import build_detector

    (tmp_path / "m.tflite").write_bytes(build_detector())
    with pytest.raises(DelegateError, match="no operation of this model: CUSTOM"):
        open_session(tmp_path / "m.tflite", device="gpu")


def test_two_models_at_once():
    paths = (MODELS / "float.tflite", MODELS / "masks.tflite")
    sessions = [open_session(path, device="gpu", gpu_float32=True) for path in paths]
    expected = [open_session(path) for path in paths]
    for session, reference in zip(sessions, expected, strict=True):
        inputs = draw(reference)
        for name, values in reference.run(inputs).items():
            assert np.allclose(session.run(inputs)[name], values, atol=MAX_FLOAT_ERROR)
