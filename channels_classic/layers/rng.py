"""Random choices of our own. The module-wide generator is the project's, which may have seeded it and rely on that."""

from __future__ import annotations

import os
import random

_generator = random.Random()
os.register_at_fork(after_in_child=_generator.seed)

randbytes = _generator.randbytes
randrange = _generator.randrange
shuffle = _generator.shuffle
uniform = _generator.uniform
