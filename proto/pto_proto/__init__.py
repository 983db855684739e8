"""The language of the system: requests, events, plans, ids, subjects. Imports msgspec and the standard library."""
