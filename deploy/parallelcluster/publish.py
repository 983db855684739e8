"""Makes a bundle of this version (wheels and their hashes, nothing to download) and puts it with head.sh into a bucket.

python deploy/parallelcluster/publish.py BUCKET [--region R] [--python 3.11] [--platform x86_64|aarch64]

The same sources and lock make the same bundle; it is named by its SHA-256, which is printed, and never overwritten.
"""

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from pto_s3 import Pool, S3Error, open_bucket
from pto_s3.upload import put_file_once

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "parallel-orchestrator/_bootstrap/"


class NoWheel(Exception):
    """A library cannot be had for the head node's platform; another --python or --platform may help."""


def pip(*arguments: str) -> None:
    """Run this environment's pip, so that what it builds depends on no clock. Raises NoWheel."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"})
    if done.returncode:
        raise NoWheel(
            f"pip {arguments[0]} failed, for what it says above: can its index be reached, and does everything have a "
            "wheel there for this --python (3.11 or newer) and --platform?"
        )


def collect(folder: Path, python: str, platform: str) -> None:
    """Everything that goes into the bundle. Raises NoWheel."""
    wheels = folder / "wheels"
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT))
    platforms = [f"--platform=manylinux{tag}_{platform}" for tag in ("2014", "_2_17", "_2_28", "_2_34")]
    pip(
        "download", "--no-deps", "--require-hashes", "--python-version", python, *platforms,
        "--dest", str(wheels), "--requirement", str(ROOT / "requirements.txt"),
    )  # fmt: skip
    for source in sorted(wheels.glob("*.tar.gz")):
        build(source, wheels)
    lines = [pinned(wheel) for wheel in sorted(wheels.glob("*.whl"))]
    (folder / "requirements.txt").write_text("".join(lines))
    (folder / "PYTHON").write_text(python + "\n")


def build(source: Path, wheels: Path) -> None:
    """Replace a library that comes as its sources by its wheel, which must fit everywhere. Raises NoWheel."""
    before = set(wheels.iterdir())
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source))
    source.unlink()
    for made in set(wheels.iterdir()) - before:
        if not made.name.endswith("-none-any.whl"):
            raise NoWheel(f"{source.name} has no wheel for this platform: name another --python or --platform")


def pinned(wheel: Path) -> str:
    """The line that allows these very bytes and no others."""
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def pack(folder: Path, target: Path) -> str:
    """A tar that depends on the files' names and bytes alone; returns its digest."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def publish(bucket_name: str, region: str, tar: Path, digest: str) -> None:
    """Put the bundle and the script there. Raises S3Error."""
    bucket, pool = open_bucket(bucket_name, region), Pool()
    try:
        put_file_once(bucket, f"{PREFIX}{digest}.tar", tar, pool)
        script = f"{PREFIX}head.sh"
        there = bucket.head(script)
        bucket.replace(script, (Path(__file__).parent / "head.sh").read_bytes(), there.etag if there else "")
    finally:
        pool.close()


def main() -> int:
    """Exit code 1: it could not be published, and why."""
    parser = argparse.ArgumentParser(description="Put a bundle of this version and head.sh into a bucket.")
    parser.add_argument("bucket")
    parser.add_argument("--region", default="eu-central-1")
    parser.add_argument("--python", default="3.11", help="version on the head node")
    parser.add_argument("--platform", choices=("x86_64", "aarch64"), default="x86_64")
    typed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        try:
            collect(folder, typed.python, typed.platform)
            digest = pack(folder, Path(name) / "bundle.tar")
            publish(typed.bucket, typed.region, Path(name) / "bundle.tar", digest)
        except (S3Error, NoWheel) as error:
            sys.stderr.write(f"publish: {error}\n")
            return 1
    sys.stdout.write(
        f"Script: s3://{typed.bucket}/{PREFIX}head.sh\n"
        f'Args: [{typed.bucket}, {digest}, "tls://BROKER:4222", /parallel-orchestrator/broker-credentials]\n'
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
