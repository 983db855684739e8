"""Plans as models answer them: one that is good, and every way to be bad that is worth naming."""

from typing import Any

PLAN: dict[str, Any] = {
    "complexity": 35,
    "rationale": "Two parts and their documentation.",
    "name": "Todo list",
    "tasks": [
        {
            "id": "store",
            "title": "Store",
            "instructions": "Write the store.",
            "depends_on": [],
            "writes": ["src/todo/store.py", "tests/test_store.py"],
            "outputs": ["src/todo/store.py", "tests/test_store.py"],
            "interfaces": "class Store with add(title) and all()",
            "checks": ["PYTHONPATH=src python3 -m unittest -q tests/test_store.py"],
            "estimate_minutes": 3,
        },
        {
            "id": "page",
            "title": "Page",
            "instructions": "Write the page.",
            "depends_on": [],
            "writes": ["src/web/**"],
            "outputs": ["src/web/index.html"],
            "interfaces": "",
            "checks": [],
            "estimate_minutes": 2,
        },
        {
            "id": "readme",
            "title": "Readme",
            "instructions": "Write README.md.",
            "depends_on": ["store", "page"],
            "writes": ["README.md"],
            "outputs": ["README.md"],
            "interfaces": "",
            "checks": ["test -s README.md"],
            "estimate_minutes": 1,
        },
    ],
    "checks": ["PYTHONPATH=src python3 -m unittest discover -q -s tests"],
}


def plan_with(task: int | None = None, **changes: Any) -> dict[str, Any]:
    """The good plan, with changes to one task or to the plan."""
    if task is None:
        return {**PLAN, **changes}
    tasks = [{**spec, **changes} if at == task else spec for at, spec in enumerate(PLAN["tasks"])]
    return {**PLAN, "tasks": tasks}


def many(count: int) -> list[dict[str, Any]]:
    first = PLAN["tasks"][0]
    return [
        {**first, "id": f"t{n}", "writes": [f"src/{n}.py"], "outputs": [f"src/{n}.py"], "depends_on": []}
        for n in range(count)
    ]


BAD_PLANS: dict[str, tuple[Any, str]] = {
    "cycle": (plan_with(0, depends_on=["readme"]), "circle"),
    "waits for itself": (plan_with(0, depends_on=["store"]), "waits for itself"),
    "unknown dependency": (
        plan_with(2, depends_on=["store", "pages"]),
        "there is no task 'pages'; did you mean 'page'?",
    ),
    "0 tasks": (plan_with(tasks=[]), "at least one task"),
    "101 tasks": (plan_with(tasks=many(101)), "at most 100"),
    "10,000 tasks": (plan_with(tasks=many(10_000)), "10000 tasks; plan at most 100|characters"),
    "output escapes": (plan_with(0, outputs=["../store.py"]), "leaves its folder"),
    "absolute scope": (plan_with(0, writes=["/etc/passwd"]), "absolute path"),
    "scope escapes inside": (plan_with(1, writes=["src/../../x"]), "leaves its folder"),
    "backslashes": (plan_with(1, writes=["src\\web"]), "backslash"),
    "same scope at once": (plan_with(1, writes=["src/**"]), "task 'store' can be the same path"),
    "same file at once": (
        plan_with(1, writes=["src/todo/store.py"], outputs=["src/todo/store.py"]),
        "can be the same path",
    ),
    "output outside of its scope": (plan_with(1, outputs=["docs/page.md"]), "outside of what the task may write"),
    "no outputs": (plan_with(1, outputs=[]), "outputs: is empty"),
    "no scope": (plan_with(1, writes=[]), "writes: is empty"),
    "no instructions": (plan_with(1, instructions=" "), "instructions: is blank"),
    "same id twice": (plan_with(1, id="store"), "already the id"),
    "id that is none": (plan_with(1, id="the page!"), "is not a task id"),
    "complexity of 101": (plan_with(complexity=101), "must be 0 to 100"),
    "blank check": (plan_with(0, checks=[" "]), "is blank"),
    "wrong type": (plan_with(0, depends_on="page"), "Expected `array`"),
    "missing field": ({"complexity": 1}, "missing required field `tasks`"),
    "no object": ([1, 2], "Expected `object`"),
}
