"""The system under crashes: real broker, real service processes, kill -9 and SIGSTOP at random moments."""
