"""What surrounds one attempt on any backend: what it may see, how the harness is told, what is kept of its result."""
