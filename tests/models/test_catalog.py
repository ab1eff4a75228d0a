from __future__ import annotations

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.graph.macs import count_macs
from edgevision.models.catalog import list_models
from edgevision.models.registry import build_graph
from edgevision.specs import Task


def test_the_zoo_lists_its_networks_with_figures() -> None:
    infos = {info.name: info for info in list_models()}
    assert {
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v3_large",
        "mobilenet_v3_small_minimalistic",
        "mobilenet_v3_large_minimalistic",
    } <= set(infos)
    info = infos["mobilenet_v2"].to_dict()
    assert info["task"] == "classify"
    assert info["input_size"] == [224, 224]
    assert info["params"] == 3_538_984
    assert info["macs"] == 300_774_272
    assert info["paper"] == "arXiv:1801.04381"


def test_the_list_is_filtered_by_task() -> None:
    assert {i.task for i in list_models("classify")} == {Task.CLASSIFY}
    assert [i.name for i in list_models(Task.CLASSIFY)] == [
        i.name for i in list_models() if i.task is Task.CLASSIFY
    ]
    with pytest.raises(InvalidConfigError, match=r"task=paint.*classify, detect or segment"):
        list_models("paint")


@pytest.mark.parametrize(
    ("name", "classes"), [("mobilenet_v2", 1000), ("ssdlite_mobilenet_v2", 90)]
)
def test_figures_are_for_the_usual_number_of_classes(name: str, classes: int) -> None:
    (info,) = [info for info in list_models() if info.name == name]
    assert info.macs == count_macs(build_graph(name, num_classes=classes)).total
