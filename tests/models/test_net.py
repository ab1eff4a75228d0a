from __future__ import annotations

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.models.net import Features


def test_features_are_looked_up_by_stride() -> None:
    features = Features(last="z", levels={2: "a", 4: "z"}, expanded={2: "A", 4: "z"})
    assert features.at(2) == "a"
    assert features.at(2, expanded=True) == "A"
    with pytest.raises(InvalidConfigError, match=r"stride=8.*2, 4"):
        features.at(8)


def test_a_last_layer_replaces_the_deepest_level_only() -> None:
    features = Features(last="b", levels={2: "a", 4: "b"}, expanded={2: "A", 4: "b"})
    longer = features.ending_in("c")
    assert longer.last == "c"
    assert longer.levels == {2: "a", 4: "c"}
    assert longer.expanded == {2: "A", 4: "c"}
