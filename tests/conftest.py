"""Options and guards of the whole suite."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from outside import Notes, guarded, settled

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A suite started in the background ignores Ctrl-C, and so would the programs that it starts to interrupt them.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=SHARED / "golden",
        help="folder with recorded inputs and outputs of the original implementations",
    )
    parser.addoption(
        "--online",
        action="store_true",
        help="let tests reach beyond this machine, and run those of tests/online, which ask the real services",
    )


@pytest.fixture(scope="session")
def outside(request: pytest.FixtureRequest) -> Iterator[Notes]:
    """What tried to reach beyond this machine; with `--online` nothing is watched."""
    if request.config.getoption("--online"):
        yield []
        return
    with pytest.MonkeyPatch.context() as patch, guarded(patch) as notes:
        yield notes


@pytest.fixture(autouse=True)
def nothing_outside(outside: Notes) -> Iterator[None]:
    """Fail a test that reaches beyond this machine, whatever became of the error."""
    yield
    found = settled(outside)
    assert not found, f"reached beyond this machine: {'; '.join(found)}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("real imagery is not here: ../shared/data is absent")
    return folder
