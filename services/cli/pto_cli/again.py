"""A finished run, started again as a new one that takes over what succeeded.

Imports core, ports, proto and siblings. Invariant: what is asked for is what the earlier run was asked for and what it
planned, unless something else was typed; nothing that has finished is done again.
"""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import msgspec

from pto_cli.access import Access
from pto_cli.backend_flags import BackendChoice
from pto_cli.leftovers import store_list
from pto_cli.model_flags import ModelChoice
from pto_cli.naming import short_name
from pto_cli.options import RunOptions, sum_of_money, whole_number
from pto_cli.output_dir import check_output_dir
from pto_cli.prepare import Prepared
from pto_cli.problems import Unavailable, WrongUse
from pto_core.lanes import lane_named
from pto_core.limits import MAX_EXECUTORS, MAX_RETRIES
from pto_core.money import dollars
from pto_core.reuse import left_behind
from pto_core.state import Run
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import ProtocolError, decode_event
from pto_proto.ids import NO_DIGEST
from pto_proto.requests import RunRequested
from pto_proto.subjects import event_subject


async def prepare_again(typed: Namespace, access: Access, view: RunView) -> Prepared:
    """The run of this view, which has ended, as a new one. Raises WrongUse, StoreFull, LogUnavailable, Unavailable."""
    run = view.run
    if run is None:
        raise WrongUse(f"the log knows no run {typed.run!r}")
    options = _options(typed, run, _models(access, run), _backend(access, run))
    request = await _request(access, run)
    plan = view.plan() if run.settled else request.plan
    request = msgspec.structs.replace(
        request,
        plan=None,
        plan_digest=NO_DIGEST if run.settled else request.plan_digest,
        max_executors=options.max_executors,
        max_retries=options.max_retries,
        max_cost_usd=options.max_cost_usd,
        resumes=run.id,
        reuse=False,
        # The log of the new run may not know the earlier one: another store, or archived.
        reuse_digest=await store_list(access.blobs, left_behind(run)),
        approve=request.approve and not run.settled,
        traceparent="",
    )
    name = request.name or short_name(request.requirement) or run.id
    return Prepared(options=options, name=name, again=request, plan=plan)


def _models(access: Access, run: Run) -> ModelChoice:
    """As the earlier run had it; its provider and region are in the note, if it was hosted here."""
    note = access.folder.read_note() if access.folder is not None else None
    known = note.models() if note is not None else ModelChoice()
    return replace(known, engine=run.request.engine, model=run.request.model)


def _backend(access: Access, run: Run) -> BackendChoice:
    """Where the earlier run had its tasks; what its dispatchers were told is in the note, if it was hosted here."""
    note = access.folder.read_note() if access.folder is not None else None
    request = run.request
    return BackendChoice(
        lane=lane_named(request.backend),
        planner_backend=request.planner_backend,
        docker=request.docker,
        resources=request.resources,
        slurm=request.slurm,
        gpu_partition=request.gpu_partition,
        told=note.told if note is not None else {},
    )


def _options(typed: Namespace, run: Run, models: ModelChoice, backend: BackendChoice) -> RunOptions:
    """What was typed, and what the earlier run had where nothing was. Raises WrongUse."""
    values = {
        "max_executors": typed.max_executors or str(run.max_executors),
        "max_retries": typed.max_retries or str(run.request.max_retries),
    }
    problems: list[str] = []
    executors = whole_number(values, "max_executors", 1, MAX_EXECUTORS, problems)
    retries = whole_number(values, "max_retries", 0, MAX_RETRIES, problems)
    max_cost = sum_of_money(typed.max_cost, "--max-cost", problems)
    if typed.max_cost is None and run.money.limit is not None:
        max_cost = dollars(run.money.limit)
    output_dir = Path(typed.output_dir) if typed.output_dir else None
    if output_dir is not None:
        problems += check_output_dir(output_dir, force=typed.force)
    if problems:
        raise WrongUse(*problems)
    return RunOptions(
        output_dir=output_dir,
        force=typed.force,
        max_executors=executors,
        max_retries=retries,
        max_cost_usd=max_cost,
        models=models,
        backend=backend,
        detach=typed.detach,
        nats_url=typed.nats_url,
        json=typed.json,
        verbose=typed.verbose,
        quiet=typed.quiet,
    )


async def _request(access: Access, run: Run) -> RunRequested:
    """What the run was asked for with, its plan included."""
    for recorded in await access.session.view.read_run(event_subject(ev.RunAccepted, None, run.id)):
        try:
            entry = decode_event(recorded.data).entries[0]
        except ProtocolError:
            continue
        if isinstance(entry, ev.RunAccepted):
            return entry.request
    raise Unavailable(f"the log does not say what run {run.id} was asked for with; start a new one")
