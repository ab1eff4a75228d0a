"""A stand-in for ``ai_edge_litert.compiled_model``: the GPU's interface without a GPU."""

from __future__ import annotations

import os
from enum import IntFlag
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

SELECTED = (
    "RegisterAccelerator: name=GPU WebGPU\nDynamically loaded GPU accelerator registered\n"
    "Selected adapter: {name}, arch=a, vendor=v, backend=Vulkan, adapterType={kind}\n"
    "Initializing WebGPU-based API from graph.\n"
)


class FakeBuffer:
    """Holds an array; what is read counts as waited for."""

    def __init__(self) -> None:
        self.values = np.zeros(0)
        self.reads = 0

    def write(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    def read(self, num_elements: int, dtype: Any) -> np.ndarray[Any, Any]:
        self.reads += 1
        return np.resize(self.values, num_elements).astype(dtype)

    def destroy(self) -> None:
        self.values = np.zeros(0)


class FakeModel:
    """Answers with its first input, plus the position of the output in the signature."""

    log = ""
    inputs: ClassVar[dict[str, dict[str, Any]]] = {}
    outputs: ClassVar[dict[str, dict[str, Any]]] = {}
    failure: Exception | None = None
    options: Any = None

    def __init__(self) -> None:
        os.write(2, self.log.encode())

    @classmethod
    def from_file(cls, path: str, *, options: Any) -> FakeModel:
        cls.options = options
        return cls()

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        return {"serving_default": {"inputs": [*self.inputs], "outputs": [*self.outputs]}}

    def get_signature_index(self, key: str) -> int:
        return 0

    def get_input_tensor_details(self, key: str) -> dict[str, Any]:
        return self.inputs

    def get_output_tensor_details(self, key: str) -> dict[str, Any]:
        return self.outputs

    def create_input_buffers(self, signature: int) -> list[FakeBuffer]:
        return [FakeBuffer() for _ in self.inputs]

    def create_output_buffers(self, signature: int) -> list[FakeBuffer]:
        return [FakeBuffer() for _ in self.outputs]

    def run_by_index(
        self, signature: int, sources: list[FakeBuffer], targets: list[FakeBuffer]
    ) -> None:
        if self.failure is not None:
            os.write(2, b"ERROR: shader lost\n")
            raise self.failure
        for number, target in enumerate(targets):
            target.write(sources[0].values + number)

    def close(self) -> None:
        os.write(2, b"DestroyAccelerator\n")


class HardwareAccelerator(IntFlag):
    CPU = 1
    GPU = 2


def make_library(
    *, log: str, inputs: dict[str, dict[str, Any]], outputs: dict[str, dict[str, Any]]
) -> Any:
    """Make a module with a class of models of its own.

    Args:
        log: Written to the error stream while a model opens.
        inputs: Tensor details by name in the signature: ``index`` and ``shape``.
        outputs: The same; their order is that of the signature.
    """
    fields = {"log": log, "inputs": inputs, "outputs": outputs}
    return SimpleNamespace(
        CompiledModel=type("CompiledModel", (FakeModel,), fields),
        HardwareAccelerator=HardwareAccelerator,
        Options=SimpleNamespace,
        CpuOptions=SimpleNamespace,
        GpuOptions=SimpleNamespace,
    )
