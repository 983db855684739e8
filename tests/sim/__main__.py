"""``python -m tests.sim``: many seeds with progress, or one with everything that happened."""

import sys

from .runner import main

sys.exit(main())
