"""Files of an agent: nothing outside the workspace is read or written, whatever the path and whatever stands there."""

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pto_engines.api.files import ConfinedFiles, FileRefused


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    root = tmp_path / "workspace"
    (root / "src").mkdir(parents=True)
    (root / "to-folder").symlink_to(tmp_path / "outside")
    (root / "to-file").symlink_to(tmp_path / "outside" / "secret.txt")
    (root / "src" / "a.py").write_text("one\ntwo\nthree\n")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def files(place: Path) -> ConfinedFiles:
    return ConfinedFiles(place, lambda path: "it is not yours" if path.startswith("theirs") else "")


BAD = [
    "../outside/x",
    "/etc/passwd",
    "src/../../x",
    "",
    ".",
    "a\0b",
    "a\nb",
    "x" * 400,
    "src//a",
    "to-folder/x",
    "src/a.py/x",
    "\ud800",
]


@pytest.mark.parametrize("path", [*BAD, "theirs/x", "src"])
def test_write_that_leads_elsewhere_is_refused(files: ConfinedFiles, place: Path, path: str) -> None:
    with pytest.raises(FileRefused):
        files.write(path, "x")
    assert sorted(name.name for name in (place.parent / "outside").iterdir()) == ["secret.txt"]
    assert sorted(name.name for name in place.parent.iterdir()) == ["outside", "workspace"]


@pytest.mark.parametrize("path", [*BAD, "to-file", "to-folder/secret.txt", "pipe", "src", "none.txt"])
def test_read_that_leads_elsewhere_is_refused(files: ConfinedFiles, path: str) -> None:
    with pytest.raises(FileRefused):
        files.read(path)


def test_written_file_takes_the_place_of_a_link_and_leaves_its_target(files: ConfinedFiles, place: Path) -> None:
    files.write("to-file", "mine")
    assert (place / "to-file").read_text() == "mine"
    assert not (place / "to-file").is_symlink()
    assert (place.parent / "outside" / "secret.txt").read_text() == "secret"


def test_write_makes_folders_and_keeps_that_a_file_is_a_program(files: ConfinedFiles, place: Path) -> None:
    assert files.write("./deep/er/run.sh", "ä") == 2
    (place / "deep/er/run.sh").chmod(0o4755)
    files.write("deep/er/run.sh", "new")
    assert (place / "deep/er/run.sh").stat().st_mode & 0o7777 == 0o755
    assert [path.name for path in (place / "deep/er").iterdir()] == ["run.sh"]


def test_reading_goes_on_from_a_line(files: ConfinedFiles) -> None:
    assert files.read("src/a.py", 2) == "two\nthree\n"
    assert files.read("src/a.py", -5) == "one\ntwo\nthree\n"
    assert files.read("src/a.py", 99) == ""


def test_long_file_is_read_in_pieces_that_fit_together(files: ConfinedFiles) -> None:
    text = "".join(f"line {n}\n" for n in range(20_000))
    files.write("long.txt", text)
    first = files.read("long.txt")
    shown, _, rest = first.rpartition("\n[cut off here; read on from line ")
    line = int(rest.rstrip("]"))
    assert text.startswith(shown)
    assert len(first) < len(text)
    assert files.read("long.txt", line).startswith(f"line {line - 1}\n")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * 3_000_000])
def test_what_is_no_text_or_too_large_is_refused(files: ConfinedFiles, place: Path, data: bytes) -> None:
    (place / "data.bin").write_bytes(data)
    with pytest.raises(FileRefused, match="run_command"):
        files.read("data.bin")


def test_content_that_is_too_large_or_no_unicode_is_refused(files: ConfinedFiles) -> None:
    for content in ("x" * 3_000_000, "\ud800"):
        with pytest.raises(FileRefused):
            files.write("src/b.py", content)


def test_listing_leaves_out_what_tools_leave_behind(files: ConfinedFiles, place: Path) -> None:
    (place / "node_modules").mkdir()
    (place / "node_modules" / "x.js").write_text("")
    assert files.listing("src") == ["src/a.py"]
    assert "node_modules/x.js" not in files.listing()
    (place.parent / "outside" / "deep").mkdir()
    for folder in ("../outside", "to-folder", "to-folder/deep", "/etc"):
        with pytest.raises(FileRefused):
            files.listing(folder)


def test_folder_that_becomes_a_link_meanwhile_leads_nowhere(files: ConfinedFiles, place: Path) -> None:
    """Somebody swaps a folder for a link, again and again, while files are written below it."""
    ends = threading.Event()

    def swap() -> None:
        while not ends.is_set():
            with suppress(OSError):
                (place / "swap").mkdir()
            shutil.rmtree(place / "swap", ignore_errors=True)
            with suppress(OSError):
                (place / "swap").symlink_to(place.parent / "outside")
                (place / "swap").unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(300):
        try:
            files.write("swap/x", "x")
        except (FileRefused, OSError):
            continue
    ends.set()
    thread.join()
    assert [path.name for path in (place.parent / "outside").iterdir()] == ["secret.txt"]
