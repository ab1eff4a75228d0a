from __future__ import annotations

import pytest

from edgevision.benchmarks.placement.edgetpu_log import find_complaint, read_log

# In the form of version 16, with figures of our own.
LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 1379 ms.

Input model: model.tflite
Input size: 4.41MiB
Output model: model_edgetpu.tflite
Output size: 5.49MiB
On-chip memory used for caching model parameters: 1.50MiB
On-chip memory remaining for caching model parameters: 1.75KiB
Off-chip memory used for streaming uncached model parameters: 3.25MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 9
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 6
Number of operations that will run on CPU: 3

Operator                       Count      Status

RELU                           4          Mapped to Edge TPU
RELU                           1          More than one subgraph is not supported
TANH                           2          Mapped to Edge TPU
CUSTOM                         1          Operation is working on an unsupported data type
NEG                            1          Operation not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def test_sizes_and_the_table_are_read() -> None:
    log = read_log(LOG)
    assert log.version == "16.0.384591198"
    assert (log.cached_bytes, log.free_bytes) == (3 << 19, 1792)
    assert (log.streamed_bytes, log.subgraphs) == (13 << 18, 1)
    assert [(row.op, row.count, row.mapped) for row in log.rows] == [
        ("RELU", 4, True),
        ("RELU", 1, False),
        ("TANH", 2, True),
        ("CUSTOM", 1, False),
        ("NEG", 1, False),
    ]
    assert log.rows[1].status == "More than one subgraph is not supported"


def test_version_2_tells_what_there_was_before() -> None:
    log = read_log(
        "On-chip memory available for caching model parameters: 2.00KiB\n"
        "On-chip memory used for caching model parameters: 512.00B\n"
        "Off-chip memory used for streaming uncached model parameters: 0.00B\n"
    )
    assert (log.cached_bytes, log.free_bytes, log.streamed_bytes) == (512, 1536, 0)


def test_what_is_not_there_is_not_made_up() -> None:
    log = read_log("something else")
    assert (log.version, log.rows) == ("", ())
    assert log.cached_bytes is log.free_bytes is log.streamed_bytes is log.subgraphs is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Edge TPU Compiler version 14.1\n\nInternal compiler error. Aborting!\n", "Internal"),
        ("Started a compilation timeout timer of 180 seconds.\nERROR: odd\n", "ERROR: odd"),
        ("", ""),
    ],
)
def test_complaints_are_found(text: str, said: str) -> None:
    assert find_complaint(text).startswith(said)
