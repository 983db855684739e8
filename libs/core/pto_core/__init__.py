"""Pure rules of the system: no clock, no randomness, no input or output. Imports pto_proto only."""
