"""Benchmarks: what the system costs and how well it schedules. No test depends on how fast this machine is."""
