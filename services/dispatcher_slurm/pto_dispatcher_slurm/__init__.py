"""Part of the Parallel Task Orchestrator; see README.md."""
