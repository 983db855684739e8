"""The commands of ``orchestrator``, one per module; each has ``main(words) -> exit code``."""
