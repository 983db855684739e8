"""The shell that services share: settings, logs, clock and signals. Imports ports, structlog and uvloop."""
