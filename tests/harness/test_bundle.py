"""The bytes of a bundle: the same in memory, in a file, and from ``tarfile``."""

import io
import tarfile
from pathlib import Path

import pytest

from pto_harness.manifest import small_bundle, write_bundle

FILES = {"a": (b"", 0o644), "d/" + "ü" * 100: (b"x" * 5000, 0o644), "b": (b"1" * 512, 0o755), "z/y/x": (b"\0", 0o600)}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "w"
    for path, (data, mode) in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        (folder / path).chmod(mode)
    return folder


def test_a_bundle_in_memory_and_one_in_a_file_have_the_bytes_that_tarfile_writes(
    workspace: Path, tmp_path: Path
) -> None:
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar:
        for path in sorted(FILES):
            info = tarfile.TarInfo(path)
            data, mode = FILES[path]
            info.size, info.mode = len(data), 0o755 if mode & 0o100 else 0o644
            tar.addfile(info, io.BytesIO(data))
    small, written = small_bundle(workspace, list(FILES), 1 << 20), write_bundle(workspace, list(FILES), tmp_path / "o")
    assert small is not None
    assert small["bundle_data"] == Path(written["bundle"]).read_bytes() == expected.getvalue()
    assert small["manifest_data"] == Path(written["manifest"]).read_bytes()
    assert {name: small[name] for name in ("bundle_sha256", "manifest_sha256", "files")} == {
        name: written[name] for name in ("bundle_sha256", "manifest_sha256", "files")
    }


def test_what_is_too_big_for_memory_is_left_to_files(workspace: Path) -> None:
    small = small_bundle(workspace, list(FILES), 1 << 20)
    assert small is not None
    assert small_bundle(workspace, list(FILES), 4096) is None
    assert small_bundle(workspace, list(FILES), 0) is None


def test_a_link_in_the_place_of_a_file_is_not_followed(workspace: Path) -> None:
    (workspace / "a").unlink()
    (workspace / "a").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        small_bundle(workspace, ["a"], 1 << 20)
