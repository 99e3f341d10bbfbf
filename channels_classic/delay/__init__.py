"""Messages that are sent later: the optional app, with a table for them and the server `manage.py rundelay`."""

from __future__ import annotations
