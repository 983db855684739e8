"""The system in one deterministic loop: real services, in-memory twins, faults from one seed, judged by its promises."""
