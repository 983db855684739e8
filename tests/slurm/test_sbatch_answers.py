"""What sbatch said, in real words, and what follows."""

import pytest

from pto_slurm.answers import Ambiguous, Refused, Submitted, Throttled, answer_of

FAILED = "sbatch: error: Batch job submission failed: "
NO_MUNGE = (
    "sbatch: error: If munged is up, restart with --num-threads=10\n"
    'sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory (Did you '
    "start munged?)\n"
    "sbatch: error: slurm_send_node_msg: auth_g_create: REQUEST_SUBMIT_BATCH_JOB has authentication error\n"
    f"{FAILED}Protocol authentication error"
)


@pytest.mark.parametrize(("stdout", "expected"), [("744\n", Submitted("744")), ("744;hpc2\n", Submitted("744"))])
def test_submitted(stdout, expected):
    assert answer_of(0, stdout, "") == expected


def test_a_site_may_say_things_before_the_id():
    assert answer_of(0, "Welcome to the cluster!\n12\n", "sbatch: lua: hello\n") == Submitted("12")


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (1, FAILED + "Socket timed out on send/recv operation"),
        (1, FAILED + "Unable to contact slurm controller (connect failure)"),
        (1, FAILED + "Zero Bytes were transmitted or received"),
        (1, FAILED + "Message receive failure"),
        (1, FAILED + "Protocol authentication error"),
        (1, FAILED + "Socket timed out on send/recv operation\n" + NO_MUNGE),
        (-9, ""),
        (None, ""),
        (137, "Killed"),
        (0, ""),
        (0, "not a number"),
    ],
)
def test_answers_that_may_hide_a_job(exit_code, stderr):
    assert isinstance(answer_of(exit_code, "", stderr), Ambiguous)


@pytest.mark.parametrize(
    "stderr",
    [
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        + FAILED
        + "Job violates accounting/QOS policy (job submit limit)",
        "sbatch: error: AssocGrpSubmitJobsLimit\n" + FAILED + "Job violates accounting/QOS policy",
        FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
    ],
)
def test_limits_on_how_many_jobs_are_waited_for(stderr):
    assert isinstance(answer_of(1, "", stderr), Throttled)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "failure", "hint"),
    [
        (1, FAILED + "Invalid partition name specified", "config", "sinfo -s"),
        (1, FAILED + "Requested node configuration is not available", "config", "No node has that much"),
        (1, FAILED + "Invalid generic resource (gres) specification", "config", "GPUs"),
        (255, "sbatch: error: Invalid --mem specification", "config", "500M"),
        (255, "sbatch: error: Invalid --time specification", "config", "HH:MM:SS"),
        (1, FAILED + "Invalid account or account/partition combination specified", "config", "account"),
        (1, FAILED + "Invalid qos specification", "config", "qos"),
        (
            1,
            "sbatch: error: QOSMaxCpuPerJobLimit\n" + FAILED + "Job violates accounting/QOS policy",
            "config",
            "ask for less",
        ),
        (1, "sbatch: error: QOSMaxWallDurationPerJobLimit\n" + FAILED + "Job violates...", "config", "ask for less"),
        (1, "sbatch: error: This does not look like a batch script.", "config", "bin folder"),
        (1, FAILED + "Job dependency problem", "infra", "anew"),
        (1, "sbatch: error: Pathname of a file, directory or other parameter too long", "config", "too long"),
        (1, "sbatch: error: something that no version said before", "config", "documentation"),
        (127, "", "config", "documentation"),
    ],
)
def test_refusals_say_what_to_do(exit_code, stderr, failure, hint):
    answer = answer_of(exit_code, "", stderr)
    assert isinstance(answer, Refused)
    assert answer.failure == failure
    assert hint in answer.hint
    assert stderr in answer.words


@pytest.mark.parametrize("stderr", [NO_MUNGE, NO_MUNGE.replace("No such file or directory", "Permission denied")])
def test_what_kept_sbatch_from_asking_is_waited_for(stderr):
    answer = answer_of(1, "", stderr)
    assert isinstance(answer, Throttled)
    assert "Did you start munged?" in answer.words


@pytest.mark.parametrize(
    ("exit_code", "words", "is_sure"), [(1, "what no version said before", False), (127, "", True)]
)
def test_unknown_words_of_a_program_that_ran_are_no_proof(exit_code, words, is_sure):
    answer = answer_of(exit_code, "", words)
    assert isinstance(answer, Refused)
    assert answer.is_sure == is_sure


def test_long_words_are_cut_to_their_end():
    answer = answer_of(1, "", "x" * 5000 + FAILED + "Invalid qos specification")
    assert isinstance(answer, Refused)
    assert len(answer.words) == 600
    assert answer.words.endswith("Invalid qos specification")
