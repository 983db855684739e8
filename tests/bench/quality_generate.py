"""Makes the workflow instances in ``quality_shapes/`` anew, from the recipes of the wfcommons package.

    pip install wfcommons==1.6      # in an environment of its own: it brings numpy, scipy, pandas and matplotlib
    PYTHONHASHSEED=0 python -m tests.bench.quality_generate

The recipes (Coleman et al. 2022) are fitted to traces of real runs: structure and run times of every task type. What
they make is committed, so that nothing else needs the package. ``rnaseq`` is left out: its recipe of this version has no
dependencies at all.
"""

import importlib
import json
import os
import random
import sys
from importlib.metadata import version
from pathlib import Path

SHAPES = ("blast", "bwa", "cycles", "epigenomics", "genome", "montage", "seismology", "soykb", "srasearch")
SIZES = (120, 300, 1000)
"""Tasks asked for; the recipes make a few less, because they repeat whole patterns."""
SEED = 1
FOLDER = Path(__file__).parent / "quality_shapes"


def generate(shape: str, size: int) -> dict[str, object]:
    """One instance: task types by name, and per task its type, its run time in ms and the positions it waits for."""
    wfcommons = importlib.import_module("wfcommons")
    numpy = importlib.import_module("numpy")
    recipes = importlib.import_module("wfcommons.wfchef.recipes")
    random.seed(SEED)
    numpy.random.seed(SEED)
    recipe = getattr(recipes, f"{shape.capitalize()}Recipe").from_num_tasks(size)
    workflow = wfcommons.WorkflowGenerator(recipe).build_workflow()
    position = {name: at for at, name in enumerate(workflow.tasks)}
    kinds = sorted({name.rsplit("_", 1)[0] for name in position})
    tasks = [
        [
            kinds.index(name.rsplit("_", 1)[0]),
            max(1, round(task.runtime * 1000)),
            sorted(position[parent] for parent in workflow.predecessors(name)),
        ]
        for name, task in workflow.tasks.items()
    ]
    return {
        "size": size,
        "seed": SEED,
        "generator": f"wfcommons {version('wfcommons')}",
        "kinds": kinds,
        "tasks": tasks,
    }


def main() -> None:
    if os.environ.get("PYTHONHASHSEED") != "0":
        sys.exit("set PYTHONHASHSEED=0: the recipes iterate over sets, and the same seed must make the same instance")
    FOLDER.mkdir(exist_ok=True)
    for shape in SHAPES:
        lines = [json.dumps(generate(shape, size), separators=(",", ":")) for size in SIZES]
        (FOLDER / f"{shape}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{shape}: {', '.join(str(line.count('],[') + 1) for line in lines)} tasks")


if __name__ == "__main__":
    main()
