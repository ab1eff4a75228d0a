from __future__ import annotations

import pytest

from edgevision.errors import DelegateError
from edgevision.runtime.gpu_log import explain_failure, read_refusals, read_report

LOADED = """\
INFO: [accelerator_registry.cc:54] RegisterAccelerator: ptr=0x55ff6116dfb0, name=GPU WebGPU
INFO: [gpu_registry.cc:138] Dynamically loaded GPU accelerator(libLiteRtWebGpuAccelerator.so) registered.
INFO: [compiled_model.cc:829] Flatbuffer model initialized directly from incoming litert model.
"""  # noqa: E501 - as the library writes it
SELECTED = (
    "I0000 00:00:1795696492.937894   28226 environment.cc:532] Selected adapter: {name}, "
    "arch={arch}, vendor={vendor}, backend=Vulkan, adapterType={kind}\n"
)
SWIFTSHADER = SELECTED.format(
    name="SwiftShader Device (Subzero)", arch="swiftshader", vendor="google", kind="CPU / Software"
)
STARTED = "I0000 00:00:1 28226 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.\n"
REFUSED = """\
ERROR: Following operations are not supported by GPU delegate:
CUSTOM TFLite_Detection_PostProcess: TFLite_Detection_PostProcess
RESHAPE: Expected 1 runtime input tensor(s), but node has 2 runtime input(s).
SQUEEZE: Operation is not supported.
{counts}
"""
NO_VULKAN = """\
Warning: Couldn't load Vulkan: libvulkan.so.1: cannot open shared object file: No such file or directory
ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found
"""  # noqa: E501
NO_DRIVER = """\
Warning: vkCreateInstance: Found no drivers!
Warning: vkCreateInstance failed with VK_ERROR_INCOMPATIBLE_DRIVER
ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found
"""


def read(log: str, total_ops: int = 5):
    return read_report(LOADED + log, total_ops=total_ops, precision="float32")


def test_all_operations_were_taken():
    report = read(SWIFTSHADER + STARTED)
    assert (report.delegated_ops, report.total_ops, report.refusals) == (5, 5, ())
    assert report.adapter.to_dict() == {
        "name": "SwiftShader Device (Subzero)",
        "kind": "CPU / Software",
        "api": "Vulkan",
        "precision": "float32",
        "software": True,
    }


@pytest.mark.parametrize(
    ("kind", "software"),
    [("discrete GPU", False), ("integrated GPU", False), ("CPU", True), ("Software", True)],
)
def test_software_is_told_from_a_gpu(kind, software):
    line = SELECTED.format(name="NVIDIA H100, rev 2", arch="hopper", vendor="nvidia", kind=kind)
    adapter = read(line + STARTED).adapter
    assert (adapter.name, adapter.software) == ("NVIDIA H100, rev 2", software)


def test_counts_and_reasons_of_a_split_model():
    counts = (
        "63 operations will run on the GPU, and the remaining 1 operations will run on the CPU."
    )
    report = read(SWIFTSHADER + REFUSED.format(counts=counts) + STARTED, total_ops=63 + 1)
    assert (report.delegated_ops, report.total_ops) == (63, 63 + 1)
    assert report.refusals == (
        ("CUSTOM:TFLite_Detection_PostProcess", "a custom op"),
        ("RESHAPE", "Expected 1 runtime input tensor(s), but node has 2 runtime input(s)"),
        ("SQUEEZE", "Operation is not supported"),
    )


def test_unpacking_of_weights_is_no_refusal():
    """Float16 weights are unpacked once; the log lists that with an empty reason."""
    counts = "29 operations will run on the GPU, and the remaining 30 will run on the CPU."
    lines = f"DEQUANTIZE: \nSQUEEZE: Operation is not supported.\n{counts}\n"
    log = SWIFTSHADER + REFUSED.partition("\n")[0] + "\n" + lines + STARTED
    report = read(log, total_ops=59 - 28)
    assert (report.delegated_ops, report.total_ops) == (29, 31)
    assert report.refusals == (("SQUEEZE", "Operation is not supported"),)


def test_a_model_of_which_nothing_runs_is_an_error():
    counts = "No operations will run on the GPU, and all 1 operations will run on the CPU."
    with pytest.raises(DelegateError, match=r"no operation of this model: .*SQUEEZE.*device=cpu"):
        read(SWIFTSHADER + REFUSED.format(counts=counts))


def test_a_model_that_opened_elsewhere_is_an_error():
    """Without its library the accelerator is left out in silence: the CPU runs everything."""
    quiet = "INFO: [accelerator_registry.cc:54] RegisterAccelerator: name=CpuAccelerator\n"
    with pytest.raises(DelegateError, match="carries no GPU accelerator"):
        read_report(quiet, total_ops=5, precision="float32")
    with pytest.raises(DelegateError, match="does not run this model"):
        read(SWIFTSHADER)


@pytest.mark.parametrize(
    ("log", "what", "remedy"),
    [
        (NO_VULKAN, "there is no Vulkan loader", "apt install libvulkan1"),
        (NO_DRIVER, "finds no driver", "mesa-vulkan-drivers"),
        (
            "Warning: loader_get_json: Failed to open JSON file /nope.json\n" + NO_DRIVER,
            "can not be read: /nope.json",
            "correct the variable",
        ),
        ("INTERNAL: No adapters found\n", "no GPU that WebGPU can use", "update its driver"),
        (
            "ERROR: Attempting to use a delegate that only supports static-sized tensors with a "
            "graph that has dynamic-sized tensors (tensor#3 is a dynamic-sized tensor).\n",
            "shapes that are not known",
            "fixed input size",
        ),
        (
            "ERROR: Node number 25 (DEPTHWISE_CONV_2D) failed to prepare.\n",
            "Node number 25 (DEPTHWISE_CONV_2D) failed to prepare",
            "device=cpu",
        ),
    ],
)
def test_causes_come_with_remedies(log, what, remedy):
    error = explain_failure(LOADED + log)
    assert error.device == "gpu"
    assert what in error.what
    assert remedy in error.remedy


def test_an_unknown_failure_repeats_what_python_was_told():
    assert "Invalid argument" in str(explain_failure(LOADED, received="Invalid argument"))


def test_a_log_without_refusals():
    assert read_refusals(LOADED + SWIFTSHADER) == ()
