"""The head node's bootstrap: publish a bundle, install it where a head node would, again, and a changed one.

It runs in a sandbox whose /etc, /opt and /var are its own. ``aws`` and ``systemctl`` are small programs at the edge: the
first asks moto what it is asked, the second notes its calls.
"""

import getpass
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from tests.fakes.sandboxes import sandbox

from pto_s3 import Bucket

from .buckets import REGION

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "parallelcluster"
ETC = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "hosts")
PARAMETER = "/parallel-orchestrator/broker-credentials"
CREDENTIALS = "-----BEGIN NATS USER JWT-----\nfor-tests\n"
AWS = """#!{python}
import sys, boto3
words = sys.argv[1:]
if words[:2] == ["s3", "cp"]:
    bucket, _, key = words[-2].removeprefix("s3://").partition("/")
    boto3.client("s3").download_file(bucket, key, words[-1])
elif words[:2] == ["ssm", "get-parameter"]:
    name = words[words.index("--name") + 1]
    try:
        print(boto3.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    except Exception as error:
        sys.exit(str(error))
else:
    sys.exit(f"not known here: {{words}}")
"""
THROTTLES_THE_CA = 'if any("broker-ca" in word for word in words): sys.exit("An error occurred (ThrottlingException)")'
SYSTEMCTL = '#!/bin/sh\necho "$*" >>/var/systemctl.log\n'


class HeadNode:
    """A machine of its own, as far as head.sh sees."""

    def __init__(self, folder: Path, url: str) -> None:
        self.etc, self.opt, self.var, tools = (folder / name for name in ("etc", "opt", "var", "tools"))
        for made in (self.etc / "systemd" / "system", self.etc / "parallelcluster", self.opt, self.var, tools):
            made.mkdir(parents=True)
        for name in ETC:
            source = Path("/etc") / name
            if source.is_dir():
                shutil.copytree(source, self.etc / name, symlinks=True, ignore=shutil.ignore_patterns("private"))
            elif source.exists():
                shutil.copy2(source, self.etc / name)
        self.say("HeadNode")
        for name, text in (("aws", AWS.format(python=sys.executable)), ("systemctl", SYSTEMCTL)):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
        self._environment = {
            "PATH": self.path,
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "for-tests",
            "AWS_SECRET_ACCESS_KEY": "for-tests",
        }
        if (python := Path(sys.executable).resolve().parent / pinned_python()).exists():
            (tools / pinned_python()).symlink_to(python)

    def say(self, kind: str) -> None:
        (self.etc / "parallelcluster" / "cfnconfig").write_text(
            f"stack_name=my-cluster\ncfn_region={REGION}\ncfn_node_type={kind}\ncfn_cluster_user={getpass.getuser()}\n"
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        binds = [
            ("--bind", str(self.etc), "/etc"),
            ("--bind", str(self.opt), "/opt"),
            ("--bind", str(self.var), "/var"),
        ]
        return subprocess.run(
            ["bwrap", "--dev-bind", "/", "/", *(word for bind in binds for word in bind), *command],
            env=self._environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("bash", str(FOLDER / "head.sh"), *arguments)

    @property
    def calls(self) -> list[str]:
        log = self.var / "systemctl.log"
        return log.read_text().splitlines() if log.exists() else []


def pinned_python() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def head_node(tmp_path: Path, moto: str, fake_credentials: None) -> HeadNode:
    sandbox("bubblewrap")
    ssm = boto3.client("ssm", region_name=REGION, endpoint_url=moto)
    ssm.put_parameter(Name=PARAMETER, Value=CREDENTIALS, Type="SecureString", Overwrite=True)
    ssm.put_parameter(Name="/parallel-orchestrator/broker-ca", Value="for-tests-ca", Type="String", Overwrite=True)
    return HeadNode(tmp_path / "head", moto)


def test_scripts_have_no_findings() -> None:
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "shellcheck"]
    if shutil.which("shellcheck") is None:
        if os.environ.get("CI") != "true":
            pytest.skip(f"shellcheck is not installed; as root: {' '.join(install)}")
        if subprocess.run(install, capture_output=True, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(install, check=True)
    scripts = [str(FOLDER / "head.sh"), str(ROOT / "deploy" / "testbed" / "aws.sh")]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_wrong_arguments_are_told_before_anything_is_done(head_node: HeadNode) -> None:
    sha256 = "0" * 64
    for arguments, said in (
        ((), "needs BUCKET"),
        (("b", "latest", "tls://h", "/p"), "not a SHA-256"),
        (("b", sha256, "h:4222", "/p"), "not the address of a broker"),
    ):
        done = head_node.install(*arguments)
        assert done.returncode == 1
        assert said in done.stderr
    assert list(head_node.opt.iterdir()) == []
    (head_node.etc / "parallelcluster" / "cfnconfig").unlink()
    assert "no node of a ParallelCluster" in head_node.install("b", sha256, "tls://h", "/p").stderr


def test_other_nodes_are_left_alone(head_node: HeadNode) -> None:
    head_node.say("ComputeFleet")
    assert head_node.install("b", "0" * 64, "tls://h", "/p").returncode == 0
    assert head_node.calls == []


def test_a_bundle_that_is_not_there_or_another_one_is_told(head_node: HeadNode, bucket: Bucket) -> None:
    sha256 = "0" * 64
    done = head_node.install(bucket.name, sha256, "tls://h", PARAMETER)
    assert done.returncode == 1
    assert "may this role read it?" in done.stderr
    bucket.put_once(f"parallel-orchestrator/_bootstrap/{sha256}.tar", b"another")
    done = head_node.install(bucket.name, sha256, "tls://h", PARAMETER)
    assert done.returncode == 1
    assert "is not the one that was named" in done.stderr
    assert not list(head_node.opt.rglob(".complete"))


@pytest.mark.slow
def test_published_installed_again_and_changed(
    head_node: HeadNode, bucket: Bucket, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    version = pinned_python().removeprefix("python")
    command = [sys.executable, str(FOLDER / "publish.py"), bucket.name, "--python", version]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    assert said[0] == said[1]
    [sha256] = re.findall(r"\b[0-9a-f]{64}\b", said[0])
    assert bucket.get("parallel-orchestrator/_bootstrap/head.sh") == (FOLDER / "head.sh").read_bytes()

    arguments = (bucket.name, sha256, "tls://broker.example:4222", PARAMETER)
    done = head_node.install(*arguments)
    assert done.returncode == 0, done.stderr
    settings, unit = head_node.etc / "parallel-orchestrator", "pto-dispatcher-parallelcluster.service"
    assert (settings / "broker.creds").read_text() == CREDENTIALS + "\n"
    assert (settings / "broker.creds").stat().st_mode & 0o777 == 0o600
    environment = (settings / "dispatcher.env").read_text()
    assert "PTO_AWS_CLUSTER=my-cluster\n" in environment
    assert (settings / "ca.pem").read_text() == "for-tests-ca\n"
    assert "PTO_CA=/etc/parallel-orchestrator/ca.pem\n" in environment
    assert "for-tests" not in environment + (head_node.etc / "systemd" / "system" / unit).read_text()
    assert head_node.calls == ["daemon-reload", f"enable --quiet {unit}", f"restart --no-block {unit}"]

    assert (settings / "dispatcher.env").stat().st_mode & 0o777 == 0o600  # local.env may hold a model's key

    before = (head_node.opt / "parallel-orchestrator" / "current").readlink()
    (settings / "local.env").write_text("PTO_CAPACITY=100\n")
    done = head_node.install(*arguments, "spot:ondemand")
    assert done.returncode == 0, done.stderr
    assert (head_node.opt / "parallel-orchestrator" / "current").readlink() == before
    environment = (settings / "dispatcher.env").read_text()
    assert "PTO_AWS_ON_DEMAND=spot:ondemand\n" in environment
    assert environment.endswith("PTO_CAPACITY=100\n")

    assert_the_ca_follows_its_parameter(head_node, moto, arguments)
    service = "set -a; . /etc/parallel-orchestrator/dispatcher.env; exec /opt/parallel-orchestrator/current/bin/pto-dispatcher-parallelcluster"
    done = head_node.run("bash", "-c", service)
    assert done.returncode == 3
    assert "cluster my-cluster: cloudformation:DescribeStacks finds no ParallelCluster" in done.stdout + done.stderr


def assert_the_ca_follows_its_parameter(head_node: HeadNode, moto: str, arguments: tuple[str, ...]) -> None:
    """It is given up only when there is none any more, and not when it cannot be asked."""
    settings = head_node.etc / "parallel-orchestrator"
    aws = shutil.which("aws", path=head_node.path)
    assert aws is not None
    answering = Path(aws).read_text()
    Path(aws).write_text(answering.replace("words = sys.argv[1:]", f"words = sys.argv[1:]\n{THROTTLES_THE_CA}"))
    done = head_node.install(*arguments)
    Path(aws).write_text(answering)
    assert done.returncode == 1
    assert "ThrottlingException" in done.stderr
    boto3.client("ssm", region_name=REGION, endpoint_url=moto).delete_parameter(Name="/parallel-orchestrator/broker-ca")
    done = head_node.install(*arguments, "spot:ondemand")
    assert done.returncode == 0, done.stderr
    assert not (settings / "ca.pem").exists()
    assert "PTO_CA=" not in (settings / "dispatcher.env").read_text()
    assert list(settings.glob("*.new")) == []
