#!/usr/bin/env python
"""The command line of the site."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent.parent))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.projects.dashboard.settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
