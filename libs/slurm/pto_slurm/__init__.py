"""What every dispatcher that works through SLURM shares: rules as data, the words of its commands, its spool."""
