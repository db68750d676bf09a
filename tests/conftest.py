"""`pytest --update-golden` rewrites the texts that golden tests compare with; look at the diff.

Property tests try the same cases on every run; HYPOTHESIS_PROFILE=explore tries new ones, more of
them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=60, derandomize=True, **QUIET)
settings.register_profile("explore", max_examples=600, **QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden texts")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Mappings that tests find are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILELOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
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
