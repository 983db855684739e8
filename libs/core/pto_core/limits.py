"""Named bounds of the core, each with its reason. Imports nothing."""

INFRA_RETRIES = 5
"""Attempts lost to the infrastructure before a task fails: enough for a flapping node, few enough to end."""
NODE_FAILURES = 2
"""Attempts of one run that a node may fail before the run avoids it: one failure can happen to any node."""
MAX_AVOIDED = 16
"""Nodes of one lane that a run avoids, those that failed last: when more fail, the nodes are not what is wrong."""
MAX_NODES_KNOWN = 1_000
"""Nodes of one lane whose failures a run remembers."""
PLAN_RETRIES = 2
"""Retries of the system's own tasks ``_plan`` and ``_merge``: they are deterministic or cost money."""
MAX_ROUNDS = 2
"""How often a red merged tree may reopen one task: an agent that did not mend it twice will not the third time."""
MAX_EVIDENCE = 4_000
"""Characters of evidence that travel with a reopened task: the last lines of a check, and they go into a prompt."""
BACKOFF_BASE_MS = 5_000
"""First delay; doubles with every failure of the task itself (the contract's 5 s x 2^(n-1))."""
BACKOFF_CAP_MS = 300_000
"""Longest delay: a person looking on should not wait more than five minutes for a sign of life."""
CAPACITY_PAUSE_MS = 30_000
"""How long a lane rests after a capacity failure that names no time; doubles with every rest in a row."""
CAPACITY_PAUSE_CAP_MS = 300_000
"""Longest such rest: a wall of a quarter of an hour is noticed to be gone within five minutes."""
MAX_RETRY_AFTER_MS = 3_600_000
"""Longest rest that an answer can ask for: after an hour a try costs little, whatever a header said."""
AWAY_S = 10.0
"""Silence after which an instance gets nothing new and its attempts are unknown: ten signs of life were missed."""
LOCAL_LOST_S = 30.0
"""Silence after which attempts that die with their dispatcher are lost (the contract's 30 s)."""
DOCKER_LOST_S = 300.0
"""Silence after which a container is lost, if another instance can take its place (the contract's 5 minutes)."""
UNCONFIRMED_S = 60.0
"""Silence after which a cancelled run ends without the word of the attempt's dispatcher, and says so."""
MAX_NAP_S = 3.0
"""A judge that did not look round for this long was asleep: what it did not hear meanwhile proves nothing."""
HEARTBEAT_S = 1.0
"""Between two signs of life of a dispatcher."""
DEFAULT_ESTIMATE_S = 1.0
"""Duration assumed for a task without an estimate: with all equal, hand-out follows the number of tasks behind one."""
REQUESTS_PER_MINUTE = 600
"""Requests of one requester, unless an operator chooses otherwise: ten a second, every second."""
REQUEST_BYTES_PER_MINUTE = 64 * 1024 * 1024
"""The same in bytes: each is copied into the log, which then grows by 90 GB a day at most for one requester."""
MAX_TASKS = 100_000
"""Tasks of one plan, after expansion of matrices."""
MAX_EXECUTORS = 10_000
"""Executors of one run; a typing error should not become a denial of service."""
MAX_RETRIES = 100
"""Retries one may ask for."""
MAX_REQUIREMENT_BYTES = 65_536
"""A requirement travels in the log with every agent task."""
MAX_HAND_OUT = 10_000
"""Attempts handed out in one tick: what 100 entries in each of 100 events carry; the rest follows in the next tick."""
MAX_DEPENDENCIES = 2_000_000
"""Dependencies of one plan, after expansion: what the graph of 100,000 tasks may cost in memory (about 100 MB)."""
MAX_TASK_BYTES = 96 * 1024
"""One task as JSON: with the requirement it still fits the one event (256 kB) that hands it out."""
MAX_NAME_CHARS = 200
"""Names and titles: one line on a screen."""
MAX_PROBLEMS = 100
"""Problems named in one answer; the rest is counted. Nobody reads more, and a refusal must fit one event."""
MAX_SHOWN = 200
"""Characters of a name that came from outside, when it is repeated in an answer."""
MAX_REASON = 2_000
"""Characters of one reason in an answer."""
MAX_TASK_DEPENDENCIES = 5_000
"""Direct dependencies of one task: TaskReady names a tree for each and must fit one message."""
MAX_COST_USD = 1_000_000
"""Highest limit of cost, and highest cost of one attempt that is believed."""
LEAST_ESTIMATE_USD = 0.001
"""What an attempt that asks a paid model is assumed to cost at least, however cheap others were."""
MAX_SCOPES_KEPT = 64
"""Waiting agents of one run whose write scopes are kept free for them in one tick."""
MAX_PASSED_OVER = 4_000
"""Waiting tasks of one run that are looked at in one tick and lane without being handed out."""
