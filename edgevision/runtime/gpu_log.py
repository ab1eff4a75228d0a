"""What LiteRT's GPU accelerator says on the native error stream.

The Python interface tells neither which adapter ran, nor how many operations it took, nor why a
model was refused. The log does; this module reads it and holds no state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgevision.errors import DelegateError
from edgevision.runtime.session import Adapter
from edgevision.specs import Device

FLOAT16, FLOAT32 = "float16", "float32"

_ADAPTER = re.compile(r"Selected adapter: (?P<name>.*?), arch=.*?, vendor=.*?, (?P<rest>.*)")
_COUNTS = re.compile(
    r"(?P<gpu>\d+|No) operations will run on the GPU, and (?:the remaining|all) (?P<cpu>\d+)"
)
_REFUSAL = re.compile(r"^(?P<op>[A-Z][A-Z0-9_]*(?: \S+)?):(?P<reason>.*)$")
_REFUSALS_START = "Following operations are not supported by GPU delegate"
_LOADED, _STARTED = "Dynamically loaded GPU accelerator", "-based API from graph"
# Kinds of adapter that are no GPU, whatever the spelling of a later version.
_SOFTWARE = re.compile(r"\b(cpu|software)\b", re.IGNORECASE)

# First cause that applies wins; each row: what the log says, what went wrong, what to do.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"Couldn't load Vulkan",
        "there is no Vulkan loader",
        "Debian or Ubuntu: apt install libvulkan1",
    ),
    (
        r"Failed to open JSON file (?P<detail>\S+)",
        "the file that VK_ICD_FILENAMES or VK_DRIVER_FILES names can not be read: {detail}",
        "correct the variable or unset it",
    ),
    (
        r"Found no drivers|VK_ERROR_INCOMPATIBLE_DRIVER",
        "Vulkan finds no driver for a GPU",
        "install the GPU's driver (Debian or Ubuntu: apt install mesa-vulkan-drivers; NVIDIA: the "
        "vendor's own); `vulkaninfo --summary` lists what is there",
    ),
    (
        r"No adapters found|No supported adapters",
        "Vulkan has a driver, but no GPU that WebGPU can use",
        "check that this user may open the GPU (group render), and update its driver",
    ),
    (
        r"only supports static-sized tensors",
        "the model has shapes that are not known before it runs",
        "convert it with a fixed input size and batch",
    ),
    (
        r"(?i)out of memory|OUT_OF_DEVICE_MEMORY|RESOURCE_EXHAUSTED",
        "the GPU has too little memory for this model",
        "a smaller input or model, or close other programs that use the GPU",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """What the accelerator said while it opened a model.

    Attributes:
        adapter: The GPU, or the program that imitates one.
        delegated_ops: Operations that it took.
        total_ops: Operations of the file, without those that unpack float16 weights.
        refusals: For each kind of operation that it refused, name and reason, in its own words.
    """

    adapter: Adapter
    delegated_ops: int
    total_ops: int
    refusals: tuple[tuple[str, str], ...] = ()


def read_report(log: str, *, total_ops: int, precision: str) -> GpuReport:
    """Read the log of a model that opened.

    That a model opened proves nothing: without an accelerator it opens on the CPU, without a word
    in the Python interface. Only what the log says of adapter and operations counts.

    Args:
        log: What was written while the model was opened.
        total_ops: Operations of the file, without those that unpack weights: the accelerator does
            that once, while it opens the model, and says that they stay on the CPU.
        precision: What the adapter computes in.

    Raises:
        DelegateError: The GPU runs nothing of the model.
    """
    found = _ADAPTER.search(log)
    if found is None:
        raise explain_failure(log)
    adapter = _read_adapter(found, precision)
    refusals = read_refusals(log)
    counts = _COUNTS.search(log)
    if counts is None:
        if _STARTED not in log:
            raise explain_failure(log)
        return GpuReport(adapter=adapter, delegated_ops=total_ops, total_ops=total_ops)
    if counts["gpu"] == "No":
        reasons = "; ".join(f"{op}: {reason}" for op, reason in refusals)
        raise DelegateError(
            f"{adapter.name} can run no operation of this model: {reasons}",
            device=Device.GPU,
            remedy="run it with device=cpu",
        )
    return GpuReport(
        adapter=adapter,
        delegated_ops=int(counts["gpu"]),
        total_ops=total_ops,
        refusals=refusals,
    )


def read_refusals(log: str) -> tuple[tuple[str, str], ...]:
    r"""Read the list of operations that the accelerator does not support.

    Returns:
        Name of the operation as in a ``.tflite`` file, and the reason in the log's words.

    >>> read_refusals("ERROR: Following operations are not supported by GPU delegate:\n"
    ...     "SHAPE: Operation is not supported.\n1 operations will run on the GPU, and ...")
    (('SHAPE', 'Operation is not supported'),)
    """
    refusals: list[tuple[str, str]] = []
    lines = iter(log.partition(_REFUSALS_START)[2].splitlines()[1:])
    for line in lines:
        found = _REFUSAL.match(line)
        if found is None:
            break
        name, _, custom = found["op"].partition(" ")
        name = f"CUSTOM:{custom}" if custom else name
        reason = found["reason"].strip().rstrip(".")
        if reason or name != "DEQUANTIZE":  # that one unpacks float16 weights, which is done
            reason = "a custom op" if reason and reason == custom else reason
            refusals.append((name, reason or "it gives no reason"))
    return tuple(refusals)


def explain_failure(log: str, *, received: str = "") -> DelegateError:
    """Make the error of a model that did not open, or opened elsewhere than on a GPU.

    Args:
        log: What was written meanwhile.
        received: What else is known, for a log without a known cause.
    """
    if _LOADED not in log and "Selected adapter" not in log and "accelerator_registry" in log:
        return DelegateError(
            "ai-edge-litert carries no GPU accelerator for this system",
            device=Device.GPU,
            remedy="its packages for Linux (x86-64 and aarch64) and Windows have one",
        )
    for pattern, what, remedy in _CAUSES:
        found = re.search(pattern, log)
        if found is not None:
            told = what.format(**found.groupdict())
            return DelegateError(told, device=Device.GPU, remedy=remedy)
    said = [line.partition("ERROR: ")[2] for line in log.splitlines() if "ERROR: " in line]
    known = ": ".join(filter(None, ("the GPU does not run this model", *(said[-2:] or [received]))))
    return DelegateError(known, device=Device.GPU, remedy="run it with device=cpu")


def _read_adapter(found: re.Match[str], precision: str) -> Adapter:
    rest = dict(part.split("=", 1) for part in found["rest"].split(", ") if "=" in part)
    kind = rest.get("adapterType", "unknown").strip()
    return Adapter(
        name=found["name"].strip(),
        kind=kind,
        api=rest.get("backend", "").strip(),
        precision=precision,
        software=bool(_SOFTWARE.search(kind)),
    )
