from __future__ import annotations

import random

import pytest

from edgevision.errors import InvalidModelError
from edgevision.graph.onnx_properties import read_properties, write_property

EMPTY_MODEL = bytes([8, 9, 58, 0])


def test_properties_are_added_and_replaced() -> None:
    model = write_property(EMPTY_MODEL, "a", "1" * 1000)
    model = write_property(model, "ключ", "größe, 猫")
    model = write_property(model, "a", "2")
    assert read_properties(model) == {"ключ": "größe, 猫", "a": "2"}
    assert model.startswith(EMPTY_MODEL)


def test_the_onnx_package_agrees() -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    info = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = helper.make_node("Neg", ["x"], ["y"])
    proto = helper.make_model(helper.make_graph([node], "g", [info], [out]))
    helper.set_model_props(proto, {"author": "me", "edgevision": "old"})
    changed = write_property(proto.SerializeToString(), "edgevision", "größe")
    read = onnx.load_model_from_string(changed)
    onnx.checker.check_model(read)
    assert {p.key: p.value for p in read.metadata_props} == {"author": "me", "edgevision": "größe"}
    assert read.graph == proto.graph


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08", bytes([8, 9]), bytes([58, 200])])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidModelError, match="not an ONNX model"):
        read_properties(data)


def test_damage_gives_one_kind_of_error() -> None:
    rng = random.Random(3)
    model = write_property(EMPTY_MODEL, "edgevision", "x" * 40)
    refused = 0
    for _ in range(500):
        data = bytearray(model)
        data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_properties(bytes(data))
        except InvalidModelError:
            refused += 1
    assert 0 < refused < 500
