"""A scripted Messages API on loopback: what is around a model can be tested without one. See README.md."""

from .record import RecordedRequest
from .scenario import Scenario
from .scenario_file import ScenarioMistake, read_scenario, scenario_from, scenario_from_yaml
from .server import FakeMessagesApi, serving, serving_in_thread

__all__ = [
    "FakeMessagesApi",
    "RecordedRequest",
    "Scenario",
    "ScenarioMistake",
    "read_scenario",
    "scenario_from",
    "scenario_from_yaml",
    "serving",
    "serving_in_thread",
]
