"""The images: who runs in them, what is in them, what is not, and that the same tree gives the same bytes."""

import hashlib
import json
import mmap
import os
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.containers import DockerEngine

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "deploy" / "docker" / "build.sh"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = ("full", "slim", "nats")
CERTIFICATES = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
REBUILD_S = 600

VERSIONS = """
import importlib.metadata, json
print(json.dumps({each.name: each.version for each in importlib.metadata.distributions()}))
"""
SOURCES = """
import hashlib, json, pathlib, pto_proto
site = pathlib.Path(pto_proto.__file__).parents[1]
files = [path for folder in site.glob("pto_*") for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
print(json.dumps({str(path.relative_to(site)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}))
"""


def inspect(engine: DockerEngine, image: str) -> dict:
    return json.loads(engine.docker("image", "inspect", image))[0]


def pinned(name: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return {re.sub(r"[._-]+", "-", package).lower(): version for package, version in found}


def test_images_are_built_from_the_pins_that_are_tested() -> None:
    tested = pinned("requirements-dev.txt")
    for name in ("requirements-image.txt", "requirements-build.txt"):
        assert pinned(name).items() <= tested.items(), f"{name} differs from requirements-dev.txt: make lock"
    image = pinned("requirements-image.txt")
    assert pinned("requirements.txt").items() <= image.items(), "make lock"
    extras = {name: wanted for name, wanted in PROJECT["project"]["optional-dependencies"].items() if name != "dev"}
    for name, wanted in extras.items():
        assert {re.split(r"[^\w-]", package)[0] for package in wanted} <= set(image), (
            f"the extra {name} is not in the image"
        )


@pytest.mark.parametrize("target", TARGETS)
def test_images_say_what_they_are_and_run_as_nobody_special(docker_engine: DockerEngine, target: str) -> None:
    config = inspect(docker_engine, getattr(docker_engine, target))["Config"]
    assert config["User"] == "10001:10001"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == PROJECT["project"]["version"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["project"]["license"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels["org.opencontainers.image.revision"])
    assert {"org.opencontainers.image.title", "org.opencontainers.image.description"} <= set(labels)


@pytest.mark.parametrize("target", ["full", "slim"])
def test_package_in_the_image_is_that_of_the_tree(docker_engine: DockerEngine, target: str) -> None:
    image = getattr(docker_engine, target)
    there = json.loads(docker_engine.run(image, "python3", "-c", SOURCES))
    packages = [ROOT / package for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    here = {
        str(path.relative_to(package.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert there == here
    for command in PROJECT["project"]["scripts"]:
        assert docker_engine.run(image, "which", command).strip() == f"/opt/pto/bin/{command}"


@pytest.mark.parametrize("target", ["full", "slim"])
def test_everything_python_in_the_image_is_pinned(docker_engine: DockerEngine, target: str) -> None:
    versions = json.loads(docker_engine.run(getattr(docker_engine, target), "python3", "-c", VERSIONS))
    there = {re.sub(r"[._-]+", "-", name).lower(): version for name, version in versions.items()}
    assert there.pop(PROJECT["project"]["name"]) == PROJECT["project"]["version"]
    assert there == pinned("requirements-image.txt")


@pytest.mark.parametrize("target", ["full", "slim"])
def test_harness_runs_a_task_on_a_read_only_root_as_the_user_it_is_given(
    docker_engine: DockerEngine, target: str, tmp_path: Path
) -> None:
    uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (4321, 4321)
    task = {
        "workspace": "/mnt/w", "out": "/mnt/out", "log": "/mnt/log", "command": "id -u > who; touch /usr/x || echo refused > root",
        "env": {"PATH": "/opt/pto/bin:/usr/bin:/bin"}, "outputs": ["who", "root"], "checks": ["test -s who", "grep refused root"],
    }  # fmt: skip
    (tmp_path / "task.json").write_text(json.dumps(task))
    tmp_path.chmod(0o777)
    options = (f"--user={uid}:{gid}", f"--mount=type=bind,source={tmp_path},target=/mnt")
    docker_engine.run(
        getattr(docker_engine, target), "pto-harness", "/mnt/task.json", "/mnt/result.json", options=options
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["outcome"], result["files"]) == ("succeeded", 2), result
    assert (tmp_path / "w" / "who").read_text() == f"{uid}\n"
    assert (tmp_path / "result.json").stat().st_uid == uid


def test_claude_code_is_the_pinned_one_and_only_in_full(docker_engine: DockerEngine) -> None:
    package = json.loads((ROOT / "deploy/claude-code/package.json").read_text())
    (version,) = set(package["optionalDependencies"].values())
    assert docker_engine.run(docker_engine.full, "claude", "--version").split()[0] == version
    assert docker_engine.run(docker_engine.slim, "sh", "-c", "command -v claude || echo none").strip() == "none"


def differences(engine: DockerEngine, once: str, again: str, folder: Path) -> list[str]:
    """Members of layers that differ, each as it is in the one and in the other image.

    Names of users and groups do not count: old engines put those of the machine that they run on beside the numbers.
    """
    found = []
    for before, after in zip(members(engine, once, folder), members(engine, again, folder), strict=True):
        found += [
            f"{name}: {before.get(name)}, {after.get(name)}"
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
    return found


def members(engine: DockerEngine, image: str, folder: Path) -> list[dict[str, tuple[object, ...]]]:
    """What is in each layer of an image: type, size, mode, owner, date, and digest of the content, by name."""
    saved, layers = folder / "members.tar", []
    engine.docker("save", "--output", str(saved), image)
    with tarfile.open(saved) as everything:
        (manifest,) = json.load(everything.extractfile("manifest.json"))  # type: ignore[arg-type]
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=everything.extractfile(name)) as layer:
                layers.append({each.name: described(layer, each) for each in layer})
    return layers


def described(layer: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[object, ...]:
    content = layer.extractfile(member) if member.isfile() else None
    digest = hashlib.sha256(content.read()).hexdigest()[:12] if content else member.linkname
    extended = {name: value for name, value in member.pax_headers.items() if name.startswith("SCHILY")}
    return member.type, member.size, oct(member.mode), member.uid, member.gid, member.mtime, digest, str(extended)


@pytest.fixture
def rebuild(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Builds ``full`` anew, every step, trusting a bundle that begins with a line; returns the image's id. All are removed in the end."""
    names: list[str] = []

    def build(first_line: str) -> str:
        bundle = tmp_path / "bundle.crt"
        bundle.write_text(f"# {first_line}\n{CERTIFICATES.read_text()}")
        names.append(f"parallel-orchestrator:test-{os.getpid()}-{len(names)}")
        done = subprocess.run(
            [BUILD, "--target", "full", "--tag", names[-1], "--base", docker_engine.base, "--ca", bundle, "--no-cache"],
            capture_output=True, text=True, timeout=REBUILD_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return str(inspect(docker_engine, names[-1])["Id"])

    yield build
    for name in names:
        subprocess.run(["docker", "rmi", name], capture_output=True, check=False)


@pytest.mark.slow
def test_the_same_tree_gives_the_same_layers_and_no_secret_gets_into_any(
    docker_engine: DockerEngine, rebuild: Callable[[str], str], tmp_path: Path
) -> None:
    canary, saved, packages = f"canary-{os.urandom(12).hex()}", tmp_path / "image.tar", ("dpkg-query", "--show")
    once, again = docker_engine.full, rebuild(canary)
    if docker_engine.run(once, *packages) != docker_engine.run(
        again, *packages
    ):  # Debian moved on since the first build
        once, again = again, rebuild(canary)
    layers = [inspect(docker_engine, image)["RootFS"]["Layers"] for image in (once, again)]
    if layers[0] != layers[1] and (found := differences(docker_engine, once, again, tmp_path)):
        pytest.fail("\n".join(("the layers differ in", *found)), pytrace=False)

    docker_engine.docker("save", "--output", str(saved), again)
    with saved.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as everything:
        searchable = everything.find(b"Run the task named on the command line") >= 0
        assert searchable, "the layers are saved in a way that cannot be searched"
        assert everything.find(canary.encode()) < 0
