"""One SLURM cluster as a lane: the backend that submits, watches and ends jobs, and never says more than it knows."""
