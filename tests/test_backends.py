from __future__ import annotations

import sys

import pytest

from edgevision import backends
from edgevision.backends import import_backend
from edgevision.errors import BackendUnavailableError


def test_installed_package_is_returned() -> None:
    assert import_backend("jinja2").__name__ == "jinja2"


@pytest.mark.parametrize(("module", "extra"), sorted(backends.EXTRAS.items()))
def test_missing_package_names_its_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailableError, match=module) as caught:
        import_backend(module)
    assert caught.value.extra == extra


def test_settings_of_the_user_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "svg")
    import_backend("matplotlib")
    assert backends.os.environ["MPLBACKEND"] == "svg"


def test_every_extra_is_declared() -> None:
    import tomllib
    from pathlib import Path

    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["optional-dependencies"]
    assert set(backends.EXTRAS.values()) <= set(declared)
