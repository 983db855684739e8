"""Whether containers can run here, asked before anything is started: each answer in one sentence with what to do.

Imports runtime and siblings. Invariants: nothing is pulled, and nothing is left behind; no check hides the next one
that could still be made.
"""

import asyncio
import getpass
import grp
import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from pto_dispatcher_docker.body import OWNER, Allowance, Mount, Part, render_body
from pto_dispatcher_docker.daemon import Daemon, DaemonAway, DaemonRefused, NoImage
from pto_dispatcher_docker.judgement import BUILD
from pto_dispatcher_docker.site import container_user
from pto_proto.plans import DockerOptions
from pto_runtime.settings import Settings

LIMIT_S = 5.0
"""An engine that answers does so in milliseconds; the first connection is given up after this."""
PROBE_S = 30.0
"""A container of nothing takes a quarter of a second; a loaded machine takes longer."""
PROBE_BYTES = 64 * 1024 * 1024
LEAST_FREE = 2 * 1024**3
"""Room on the engine's disk: logs and layers of containers."""
BUILT_BY = ("org.opencontainers.image.version", "org.opencontainers.image.revision", "org.opencontainers.image.title")
PROBE_FILE = "seen"
NETWORK_MODES = ("none", "host")
"""Networks that every engine has."""
Found = tuple[str, str, str]
"""(``ok``, ``note`` or ``FAIL``, what, what was found)."""


async def problems(settings: Settings, asked: DockerOptions) -> list[str]:
    """Why no container of this run could start; empty if they can."""
    image, network = asked.image or settings.docker_image, asked.network or settings.docker_network
    daemon = Daemon(settings.docker_socket, 1)
    await daemon.open()
    try:
        return [said for mark, _, said in [found async for found in _asked(daemon, image, network)] if mark == "FAIL"]
    finally:
        await daemon.close()


async def checks(settings: Settings, asked: DockerOptions) -> AsyncIterator[Found]:
    """All of it, with a container that is started to see that it runs and writes where it should."""
    image, network = asked.image or settings.docker_image, asked.network or settings.docker_network
    daemon = Daemon(settings.docker_socket, 1)
    await daemon.open()
    can_run = True
    try:
        async for found in _asked(daemon, image, network):
            can_run = can_run and found[0] != "FAIL"
            yield found
        if can_run:
            yield await _probe(daemon, image, network)
            yield await _room(daemon)
    finally:
        await daemon.close()


async def _asked(daemon: Daemon, image: str, network: str) -> AsyncIterator[Found]:
    """Engine, image and network; without an engine, the rest cannot be asked."""
    try:
        async with asyncio.timeout(LIMIT_S):
            about = await daemon.about()
    except (DaemonAway, DaemonRefused, TimeoutError) as error:
        yield "FAIL", "engine", unreachable(daemon.socket, str(error))
        return
    yield "ok", "engine", f"version {about.version} at {daemon.socket}, {about.cpus} processors"
    yield "ok", "rights", rights(daemon.socket)
    try:
        labels = await daemon.image_labels(image)
    except NoImage:
        yield "FAIL", "image", f"there is no image {image} on this machine. {BUILD}"
    except (DaemonAway, DaemonRefused) as error:
        yield "FAIL", "image", f"{image}: {error}"
    else:
        built = [labels[name] for name in BUILT_BY if labels.get(name)]
        yield ("ok", "image", f"{image}, {' '.join(built)}") if built else ("ok", "image", f"{image}, not one of ours")
    try:
        names = await daemon.network_names()
    except (DaemonAway, DaemonRefused) as error:
        yield "FAIL", "network", f"{network}: {error}"
        return
    if network in names or network in NETWORK_MODES:
        yield "ok", "network", network
    else:
        there = ", ".join(sorted(names))
        yield (
            "FAIL",
            "network",
            f"there is no network {network}; there are {there}. `docker network create {network}` makes it",
        )


def unreachable(socket: str, said: str) -> str:
    """Why no engine answers at this socket, and what to do about it."""
    path = Path(socket)
    other = "or name another socket in PTO_DOCKER_SOCKET"
    if not path.exists():
        return f"no container engine listens at {socket}: start it (systemctl start docker), {other}"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{getpass.getuser()} may not use {socket} ({_owner(path)}): {_may(path)}, {other}"
    return f"the container engine at {socket} does not answer ({said or 'no answer'}): restart it, {other}"


def rights(socket: str) -> str:
    """Who we are, and what containers run as: whoever may use the socket can become root, and that is said."""
    path, me = Path(socket), getpass.getuser()
    as_whom = "containers run as {}:{}".format(*container_user()) if os.getuid() == 0 else f"containers run as {me}"
    return f"{me} may use the socket ({_owner(path)}), which is as good as root; {as_whom}"


def _owner(path: Path) -> str:
    status = path.stat()
    user, group = str(status.st_uid), str(status.st_gid)
    with suppress(KeyError):
        user = pwd.getpwuid(status.st_uid).pw_name
    with suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return f"{user}:{group}, mode {stat.S_IMODE(status.st_mode):04o}"


def _may(path: Path) -> str:
    group = path.stat().st_gid
    with suppress(KeyError):
        name = grp.getgrgid(group).gr_name
        if name != "root":
            return f"join its group (usermod -aG {name} {getpass.getuser()}, then log in again)"
    return "ask whoever runs the engine"


async def _probe(daemon: Daemon, image: str, network: str) -> Found:
    """A container that writes a file where attempts write theirs; gone afterwards, whatever happens."""
    name = f"pto-doctor-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="pto-doctor-") as folder:
        user = container_user()
        if os.getuid() == 0:
            os.chown(folder, *user)
        part = Part(
            name=name,
            labels={OWNER: name},
            argv=["/bin/sh", "-c", f"echo seen > {PROBE_FILE}"],
            environment={},
            mounts=(Mount(folder, "/workspace"),),
        )
        allowed = Allowance(image=image, network=network, memory_bytes=PROBE_BYTES, cpus=0.0, pids=64)
        began = time.monotonic()
        try:
            async with asyncio.timeout(PROBE_S):
                container = await daemon.create(name, render_body(part, allowed, user))
                await daemon.start(container)
                await daemon.wait(container)
                seen = await daemon.inspect(container)
        except (DaemonAway, DaemonRefused, TimeoutError) as error:
            return "FAIL", "container", f"does not run: {str(error) or f'not within {PROBE_S:.0f} s'}"
        finally:
            with suppress(DaemonAway, DaemonRefused):
                await daemon.remove(name)
        if seen.exit_code:
            return "FAIL", "container", f"ends with {seen.exit_code}; {image} needs /bin/sh"
        if not (Path(folder) / PROBE_FILE).exists():
            what = f"does not write into {folder}: the engine sees other folders than this machine"
            return "FAIL", "container", f"{what}; use an engine of this host"
    return "ok", "container", f"started, wrote its file and was removed in {time.monotonic() - began:.1f} s"


async def _room(daemon: Daemon) -> Found:
    try:
        root = (await daemon.about()).folder
        free = shutil.disk_usage(root).free
    except (DaemonAway, DaemonRefused, OSError) as error:
        return "note", "engine's disk", f"cannot be looked at: {error}"
    if free < LEAST_FREE:
        return "FAIL", "engine's disk", f"{root} has {free // 2**20} MiB left: `docker system prune` frees some"
    return "ok", "engine's disk", f"{root}, {free / 2**30:.1f} GiB free"
