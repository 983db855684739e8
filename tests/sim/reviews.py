"""What becomes of a plan that a person had to approve, held against what people said.

Invariant: nothing of such a plan runs unless somebody approved that very plan, or put the one that runs in its place.
"""

from collections.abc import Callable

import msgspec

from pto_proto import events as ev
from pto_proto.ids import Digest, digest_of
from pto_proto.plans import Plan
from pto_proto.requests import AnyRequest, PlanApproved, PlanRejected

from .stories import RunStory


class Reviews:
    """Judges each answer to a review; ``asked`` gives the request with a sequence, ``stored`` the blob with a digest."""

    def __init__(
        self, complain: Callable[[str], None], asked: Callable[[int], AnyRequest], stored: Callable[[Digest], bytes]
    ) -> None:
        self._complain = complain
        self._asked = asked
        self._stored = stored

    def take_edit(self, run: RunStory, seq: int, entry: ev.PlanEditAccepted) -> None:
        """A person put another plan in the place of the one that waits."""
        if run.cancelling_seq or run.settled_seq or run.edited is not None:
            self._complain(f"promise 17: an edited plan of {run.run} is taken at {seq}, but it does not wait any more")
        request = self._answer(run, seq, entry)
        if isinstance(request, PlanApproved):
            run.edited = self._edited(request)

    def check_settled(self, run: RunStory, seq: int, entry: ev.PlanSettled) -> None:
        """What was decided is what a person said, or nobody wanted to be asked."""
        what = f"the plan of {run.run} is settled at {seq} as {entry.decision}"
        if not run.request.approve or entry.decision == "not-asked":
            if run.request.approve or entry.decision != "not-asked":
                self._complain(f"promise 17: {what}, asked for: {run.request.approve}")
        elif entry.decision == "edited":
            parts = run.planned.get(entry.plan_digest, {})
            if run.edited is None or run.edited.tasks != tuple(spec for at in sorted(parts) for spec in parts[at]):
                self._complain(f"promise 17: {what}, but it is not the edited one")
        else:
            request = self._answer(run, seq, entry)
            is_approval = isinstance(request, PlanApproved)
            if (entry.decision == "approved") != is_approval or run.edited is not None:
                self._complain(f"promise 17: {what}, the answer was {type(request).__name__}")
            edited = self._edited(request) if isinstance(request, PlanApproved) else None
            if edited is not None and digest_of(msgspec.json.encode(edited)) != entry.plan_digest:
                self._complain(f"promise 17: {what}, but the answer was an edited plan")

    def _answer(self, run: RunStory, seq: int, entry: ev.PlanSettled | ev.PlanEditAccepted) -> AnyRequest | None:
        """What a person said about the plan that waits; it must name that plan."""
        request = self._asked(entry.request_seq) if entry.request_seq else None
        if not isinstance(request, PlanApproved | PlanRejected):
            self._complain(f"promise 17: the plan of {run.run} is settled at {seq}, but nobody was asked")
            return None
        if not run.plans or request.plan_digest != run.plans[0] or entry.plan_digest != run.plans[0]:
            self._complain(f"promise 17: the answer at {seq} is about another plan than the one of {run.run}")
        return request

    def _edited(self, request: PlanApproved) -> Plan | None:
        if request.edited_digest:
            return msgspec.json.decode(self._stored(request.edited_digest), type=Plan)
        return request.plan
