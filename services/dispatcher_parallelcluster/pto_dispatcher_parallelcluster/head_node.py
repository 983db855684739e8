"""What a ParallelCluster's node says about itself. Imports nothing of ours.

Invariant: a machine that is no node of a ParallelCluster says nothing, and that is no error.
"""

from pathlib import Path
from typing import NamedTuple

CONFIGURATION = Path("/etc/parallelcluster/cfnconfig")
"""Shell lines that ParallelCluster writes on every node."""


class Node(NamedTuple):
    """Cluster, region and kind; empty where the machine does not say."""

    cluster: str = ""
    region: str = ""
    kind: str = ""
    """``HeadNode``, ``ComputeFleet`` or ``LoginNode``."""


def read_node(path: Path = CONFIGURATION) -> Node:
    """What this machine is."""
    try:
        return parse_node(path.read_text(errors="replace"))
    except OSError:
        return Node()


def parse_node(text: str) -> Node:
    """From the lines of ``cfnconfig``. Pure."""
    lines = (line.partition("=") for line in text.splitlines())
    said = {name.strip(): value.strip().strip("\"'") for name, _, value in lines}
    return Node(said.get("stack_name", ""), said.get("cfn_region", ""), said.get("cfn_node_type", ""))
