"""The language of the system: requests, events, plans, ids and subjects. Imports msgspec and the standard library only."""
