"""Other systems on the same shapes, each in an environment of its own (``make bench-peers``).

A module per system, standard library besides the system itself. They run at two workers, at three for W5; what each
keeps over a crash is said in its record.
"""
