"""Where an engine's questions go from a node."""

import pytest

from pto_slurm_node.route import Route, route_of, why_not


@pytest.mark.parametrize(
    ("engine", "environment", "expected"),
    [
        ("simulated", {}, None),
        ("api", {}, Route("api.anthropic.com", 443, False)),
        ("api", {"ANTHROPIC_BASE_URL": "http://gate:8080/v1"}, Route("gate", 8080, False)),
        ("api", {"PTO_MODEL_PROVIDER": "bedrock", "AWS_REGION": "eu-central-1"}, Route("bedrock-runtime.eu-central-1.amazonaws.com", 443, False)),
        ("api", {"PTO_MODEL_PROVIDER": "bedrock", "ANTHROPIC_BEDROCK_BASE_URL": "https://vpce"}, Route("vpce", 443, False)),
        ("claude-code", {"https_proxy": "http://proxy:3128"}, Route("proxy", 3128, True)),
        ("api", {"HTTPS_PROXY": "proxy:3128"}, Route("proxy", 3128, True)),
        ("api", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "x,.anthropic.com"}, Route("api.anthropic.com", 443, False)),
        ("api", {"HTTP_PROXY": "http://proxy:3128"}, Route("api.anthropic.com", 443, False)),
        ("api", {"ANTHROPIC_BASE_URL": "http://gate:99999"}, None),
    ],
)  # fmt: skip
def test_where_questions_go(engine, environment, expected):
    assert route_of(engine, environment) == expected


def test_a_host_that_has_no_name():
    assert why_not(Route("no-such-host.invalid", 443, False))
