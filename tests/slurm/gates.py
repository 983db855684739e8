"""Commands that end when their test lets them: what is to be seen while they run can take as long as it takes."""

from pathlib import Path

from tests.chaos.plans import gate


class Gates:
    """Of one test; those that it left shut, because it failed, are opened after it (see ``conftest.py``)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def wait(self, name: str = "go") -> str:
        """A command that ends when this one is open."""
        self._names.add(name)
        return gate(self._folder / name)

    def open(self, name: str = "go") -> None:
        assert name in self._names, "somebody waits for it"
        (self._folder / name).touch()

    def open_all(self) -> None:
        for name in self._names:
            self.open(name)
