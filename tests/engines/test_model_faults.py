"""Every way in which asking a model fails becomes one failure class, with what to do where a person has to act."""

import threading
import time
from typing import Any

import pytest
from fakes.agents import model_at, models_now
from fakes.messages_api import scenario_from, serving_in_thread
from fakes.questions import ACCESS_KEY, BEDROCK_MODEL, HELLO

from pto_engines.models.access import Model
from pto_engines.models.fault import BY_KIND, BY_STATUS, BY_TYPE, BY_WORDS, Fault, sort_fault
from pto_engines.models.question import Question, Reply
from pto_ports.engine import EngineError

QUESTION = Question(
    system="You help.", messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], max_tokens=99
)
PURE: list[tuple[Fault, str, str]] = [
    (Fault(kind="answer", status=429), "capacity", ""),
    (Fault(kind="answer", status=529), "capacity", ""),
    (Fault(kind="answer", status=503), "capacity", ""),
    (Fault(kind="answer", status=500), "capacity", ""),
    (Fault(kind="answer", status=599), "capacity", ""),
    (Fault(kind="answer", status=200, type="overloaded_error"), "capacity", ""),
    (Fault(kind="answer", status=400, type="throttlingException"), "capacity", ""),
    (Fault(kind="answer", status=429, type="ThrottlingException"), "capacity", ""),
    (Fault(kind="answer", status=401), "config", "ANTHROPIC_API_KEY"),
    (Fault(kind="answer", status=402), "config", "billing"),
    (Fault(kind="answer", status=403), "config", "access"),
    (Fault(kind="answer", status=403, type="UnrecognizedClientException"), "config", "credentials"),
    (Fault(kind="answer", status=403, type="AccessDeniedException"), "config", "bedrock:InvokeModel"),
    (
        Fault(
            kind="answer", status=403, message="The security token included in the request is expired", profile="dev"
        ),
        "config",
        "aws sso login --profile dev",
    ),
    (Fault(kind="answer", status=403, type="ExpiredTokenException"), "config", "Renew"),
    (Fault(kind="answer", status=404), "config", "model id"),
    (Fault(kind="answer", status=400, message="The provided model identifier is invalid."), "config", "model id"),
    (Fault(kind="answer", status=400, message="Your credit balance is too low to access the API"), "config", "billing"),
    (Fault(kind="answer", status=400, message="prompt is too long: 1 > 0"), "task", "Split"),
    (Fault(kind="answer", status=400), "task", ""),
    (Fault(kind="answer", status=413), "task", "Split"),
    (Fault(kind="answer", status=422), "task", ""),
    (Fault(kind="cut"), "capacity", ""),
    (Fault(kind="silent"), "capacity", ""),
    (Fault(kind="malformed"), "capacity", ""),
    (Fault(kind="unreachable"), "infra", "network"),
    (Fault(kind="no-credentials"), "config", "AWS_PROFILE"),
    (Fault(kind="expired", profile="work"), "config", "aws sso login --profile work"),
    (Fault(kind="settings", message="no AWS region is given"), "config", "region"),
]


@pytest.mark.parametrize(
    ("fault", "failure", "hint"), PURE, ids=[f"{f.kind} {f.status} {f.type} {f.message[:20]}" for f, _, _ in PURE]
)
def test_fault_is_sorted(fault: Fault, failure: str, hint: str) -> None:
    found = sort_fault(fault)
    assert found.failure == failure
    assert hint in found.hint
    assert found.is_passing == (failure in ("capacity", "infra"))


def test_every_configuration_error_says_what_to_do() -> None:
    rows = [*BY_TYPE.values(), *BY_STATUS.values(), *(row for _, row in BY_WORDS)]
    assert not [row for row in rows if row.failure == "config" and not row.hint]
    assert all(
        sort_fault(Fault(kind=kind, message="x")).hint for kind, row in BY_KIND.items() if row.failure == "config"
    )


def test_retry_after_is_taken_and_bounded() -> None:
    waits = [
        sort_fault(Fault(kind="answer", status=429, retry_after_s=s)).retry_after_s for s in (None, 7.0, -1.0, 1e9)
    ]
    assert waits == [None, 7.0, 0.0, 900.0]


def ask(model: Model) -> Reply:
    return model.ask(QUESTION)


OVER_THE_WIRE: list[tuple[dict[str, Any], str]] = [
    ({"fault": "status", "status": 429, "retry_after_s": 30}, "capacity"),
    ({"fault": "status", "status": 529}, "capacity"),
    ({"fault": "status", "status": 503}, "capacity"),
    ({"fault": "status", "status": 500}, "capacity"),
    ({"fault": "status", "status": 401}, "config"),
    ({"fault": "status", "status": 402}, "config"),
    ({"fault": "status", "status": 403}, "config"),
    ({"fault": "status", "status": 404}, "config"),
    ({"fault": "status", "status": 400}, "task"),
    ({"fault": "status", "status": 413}, "task"),
    ({"fault": "cut"}, "capacity"),
    ({"fault": "cut", "where": "within"}, "capacity"),
    ({"fault": "stream_error"}, "capacity"),
    ({"fault": "stream_error", "type": "rate_limit_error"}, "capacity"),
    ({"fault": "malformed"}, "capacity"),
]
LONG = {"rules": [{"answer": {"text": "word " * 400}}]}


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
@pytest.mark.parametrize(("fault", "failure"), OVER_THE_WIRE, ids=[str(fault) for fault, _ in OVER_THE_WIRE])
def test_real_client_fails_in_the_right_class(
    provider: str, fault: dict[str, Any], failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pto_engines.models.access.TRY_AGAIN_S", 0.001)
    aws: dict[str, Any] = {
        "model": BEDROCK_MODEL,
        "api_key": "",
        "region": "eu-central-1",
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": "secret-of-aws",
    }
    more = aws if provider == "bedrock" else {}
    models = models_now()
    with serving_in_thread(scenario_from({**LONG, "faults": [{**fault, "times": "always"}]})) as api:
        with pytest.raises(EngineError) as caught:
            ask(model_at(models, api.url, provider=provider, patience_s=0.0, **more))
        models.close()
    assert caught.value.failure == failure
    assert bool(caught.value.retry_after_s) == (failure == "capacity")
    if "retry_after_s" in fault:
        assert caught.value.retry_after_s == pytest.approx(30, abs=1)
    assert "secret-of-aws" not in str(caught.value)


def test_nobody_at_the_address_is_a_matter_of_the_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pto_engines.models.access.TRY_AGAIN_S", 0.001)
    models = models_now()
    with pytest.raises(EngineError, match="cannot be reached") as caught:
        ask(model_at(models, "http://127.0.0.1:9"))
    models.close()
    assert caught.value.failure == "infra"


def test_several_faults_and_then_the_answer() -> None:
    faults = [
        {"fault": "status", "status": 529, "headers": {"retry-after-ms": "5"}, "times": 2},
        {"fault": "cut", "where": "within"},
        {"fault": "status", "status": 429, "headers": {"retry-after-ms": "5"}},
    ]
    models = models_now()
    notes: list[str] = []
    with serving_in_thread(scenario_from({**HELLO, "faults": faults})) as api:
        reply = model_at(models, api.url).ask(QUESTION, note=notes.append)
        models.close()
    assert reply.text == "Hello"
    assert [request.status for request in api.requests] == [529, 529, 200, 429, 200]
    assert len(notes) == 4


def test_missing_package_is_one_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "anthropic", None)
    models = models_now()
    with pytest.raises(EngineError, match=r"parallel-task-orchestrator\[anthropic\]") as caught:
        ask(model_at(models, "http://127.0.0.1:9"))
    models.close()
    assert caught.value.failure == "config"


def test_closing_ends_every_question_and_refuses_new_ones() -> None:
    models = models_now()
    ended: list[str] = []
    with serving_in_thread(
        scenario_from({**HELLO, "faults": [{"fault": "slow", "first_byte_s": 60, "times": "always"}]})
    ) as api:
        model = model_at(models, api.url)

        def wait() -> None:
            with pytest.raises(EngineError) as caught:
                ask(model)
            ended.append(caught.value.failure)

        threads = [threading.Thread(target=wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(api.requests) < 5:
            time.sleep(0.01)
        models.close()
        for thread in threads:
            thread.join(20)
        with pytest.raises(EngineError, match="stopping"):
            ask(model)
    assert ended == ["cancelled"] * 5


def test_question_has_a_time_limit() -> None:
    models = models_now()
    with serving_in_thread(scenario_from({**HELLO, "faults": [{"fault": "slow", "first_byte_s": 60}]})) as api:
        with pytest.raises(EngineError) as caught:
            model_at(models, api.url).ask(QUESTION, time_limit_s=0.1)
        assert model_at(models, api.url).ask(QUESTION).text == "Hello"
        models.close()
    assert caught.value.failure == "timeout"
