from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from crashing import crash

from edgevision.errors import DelegateError, InvalidModelError, UnsupportedOpError
from edgevision.graph.reader import read_graph
from edgevision.runtime import gpu, isolate
from edgevision.runtime.gpu import GpuSession, probe_gpu
from edgevision.runtime.session import Adapter, Session, TimedRuns
from edgevision.runtime.sessions import open_session

sys.path.append(str(Path(__file__).parent))
from fake_compiled_model import SELECTED, make_library

HEADS = Path(__file__).parent / "models/heads.tflite"
REAL = SELECTED.format(name="Real GPU", kind="discrete GPU")
ADAPTER = Adapter(
    name="Real GPU", kind="discrete GPU", api="Vulkan", precision="float16", software=False
)


@pytest.fixture
def isolated(monkeypatch):
    """As in a child process: the model is opened here, without a child of its own."""
    monkeypatch.setenv("EDGEVISION_ISOLATED", "1")
    monkeypatch.setattr(gpu, "find_adapter", lambda: ADAPTER)


@pytest.fixture
def library(monkeypatch, isolated):
    """Replace the GPU's library by a fake one; its outputs are in another order than the file's."""

    def install(log: str = REAL, path: Path = HEADS):
        graph = read_graph(path)
        fake = make_library(
            log=log,
            inputs={graph.tensors[i].name: describe(graph.tensors[i]) for i in graph.inputs},
            outputs={
                graph.tensors[i].name: describe(graph.tensors[i]) for i in graph.outputs[::-1]
            },
        )
        monkeypatch.setattr(gpu, "_import_compiled_model", lambda: fake)
        return fake

    return install


def describe(tensor):
    return {"index": tensor.index, "shape": list(tensor.shape)}


def draw(session):
    return {s.name: np.ones(s.shape, s.dtype) for s in session.inputs}


def test_it_describes_itself_as_the_cpu_does(library):
    library()
    session, reference = GpuSession(HEADS), open_session(HEADS)
    assert isinstance(session, Session)
    assert isinstance(session, TimedRuns)
    assert (session.inputs, session.outputs) == (reference.inputs, reference.outputs)
    assert "Real GPU" in session.backend


def test_outputs_find_their_names_whatever_their_order(library):
    library()
    session = GpuSession(HEADS)
    names = [spec.name for spec in session.outputs]
    answers = session.run(draw(session))
    # The fake adds the position in the signature, which is the file's reversed.
    assert [answers[name].flat[0] for name in names] == [2, 1]
    assert [answers[s.name].shape for s in session.outputs] == [s.shape for s in session.outputs]


def test_a_timed_run_ends_when_all_outputs_are_read(library):
    library()
    session = GpuSession(HEADS)
    session.run(draw(session))
    targets = session._opened.targets
    before = [buffer.reads for buffer in targets]
    session.invoke()
    session.time_run()
    assert [buffer.reads - n for buffer, n in zip(targets, before, strict=True)] == [2, 2]


def test_the_run_is_told_apart(library):
    library()
    session = GpuSession(HEADS)
    session.run(draw(session))
    times = session.time_run().to_dict()
    assert list(times) == ["open_ms", "first_ms", "submit_ms", "read_ms"]
    assert all(value > 0 for value in times.values())


@pytest.mark.parametrize(("float32", "precision"), [(False, "float16"), (True, "float32")])
def test_precision_is_demanded_and_told(library, float32, precision):
    fake = library()
    session = GpuSession(HEADS, float32=float32)
    assert fake.CompiledModel.options.gpu_options.enforce_f32 is float32
    assert session.placement().adapter.precision == precision


def test_placement_says_what_stays_on_the_cpu(library):
    counts = "9 operations will run on the GPU, and the remaining 5 operations will run on the CPU."
    refused = (
        f"ERROR: Following operations are not supported by GPU delegate:\nPACK: no\n{counts}\n"
    )
    library(REAL + refused)
    placement = GpuSession(HEADS).placement()
    assert (placement.delegated_ops, placement.total_ops) == (9, len(read_graph(HEADS).ops))
    assert placement.note == (
        "ran on Real GPU (discrete GPU, Vulkan); "
        "5 of 14 operations run on the CPU, because the GPU refuses PACK"
    )


def test_software_is_no_gpu(library):
    library(SELECTED.format(name="Pixel Pipe", kind="CPU / Software"))
    placement = GpuSession(HEADS).placement()
    assert placement.adapter.software
    assert (
        "ran on Pixel Pipe (CPU / Software, Vulkan); that is a program on the CPU" in placement.note
    )


def test_the_cpu_never_takes_its_place(library):
    """The library opens the model on the CPU alone and says nothing: the log gives it away."""
    library("RegisterAccelerator: name=CpuAccelerator accelerator_registry\n")
    with pytest.raises(DelegateError, match="no GPU accelerator"):
        GpuSession(HEADS)


def test_failing_runs_name_the_cause(library):
    fake = library()
    session = GpuSession(HEADS)
    fake.CompiledModel.failure = RuntimeError("ERROR: [x.h:1]")
    with pytest.raises(DelegateError, match="shader lost"):
        session.run(draw(session))


def test_nothing_reaches_the_terminal(library, capfd):
    library()
    session = GpuSession(HEADS)
    session.run(draw(session))
    session.close()
    session.close()
    assert capfd.readouterr() == ("", "")


def test_a_type_that_the_interface_can_not_carry(library, tmp_path):
    from edgevision.graph.flatbuffer import ModelEditor, create_empty_model

    editor = ModelEditor(create_empty_model())
    source, target = (editor.add_tensor(n, shape=(1, 2), dtype="int64") for n in "xy")
    editor.add_op("ABS", [source], [target], options=("AbsOptions", {}))
    editor.set_inputs([source])
    editor.set_outputs([target])
    (tmp_path / "m.tflite").write_bytes(editor.to_bytes())
    with pytest.raises(UnsupportedOpError, match=r"'x' is int64.*device=cpu"):
        GpuSession(tmp_path / "m.tflite")


def test_damaged_files_are_refused_before_a_gpu_is_looked_for(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    with pytest.raises(InvalidModelError):
        open_session(tmp_path / "m.tflite", device="gpu")


def test_onnx_files_are_sent_to_convert(onnx_model):
    with pytest.raises(DelegateError, match="edgevision convert"):
        open_session(onnx_model, device="gpu")


def test_a_crashing_driver_is_an_error(monkeypatch):
    monkeypatch.setattr(gpu, "_run_once", crash)
    with pytest.raises(DelegateError, match=r"did not survive.*SIGSEGV.*update the driver"):
        probe_gpu(HEADS)


def test_children_know_that_they_are_children(monkeypatch):
    monkeypatch.delenv("EDGEVISION_ISOLATED", raising=False)
    assert not isolate.is_isolated()
    assert isolate.run_isolated(isolate.is_isolated)


def test_without_a_driver_the_error_says_how_to_get_one(no_gpu):
    with pytest.raises(DelegateError, match=r"device=gpu.*(apt install|Linux)") as caught:
        open_session(HEADS, device="gpu")
    assert caught.value.device == "gpu"
