"""`pytest --update-golden` rewrites the texts that golden tests compare with; look at the diff.

Property tests try the same cases on every run, HYPOTHESIS_PROFILE=ci more of them, as .ci/run does;
HYPOTHESIS_PROFILE=explore tries new ones, and many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=24, derandomize=True, **QUIET)
settings.register_profile("ci", max_examples=60, derandomize=True, **QUIET)
settings.register_profile("explore", max_examples=600, **QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden texts")


SEARCHING = ("mappers", "sim", "cli", "docs")  # folders whose tests search mappings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that search come first: of two workers the one that begins with them compiles the
    search, for a minute of a fresh clone, and the other does not, which begins in the middle."""
    root = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(root).parts[0] not in SEARCHING)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Mappings that tests find are kept apart from the user's, and workers share what they find."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILELOOM_CACHE", str(folder / "cache"))
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """check(name, text): `text` is what golden/`name` beside the test file says."""

    def check(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"{path} is missing; run pytest --update-golden"
        assert text == path.read_text(), f"{path} differs; if it should, run pytest --update-golden"

    return check
