"""Fixtures of the tests on a SLURM cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.slurm.gates import Gates


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[Gates]:
    """To be asked for last: what still waits ends before the services that it needs do."""
    gates = Gates(tmp_path)
    yield gates
    gates.open_all()
