"""The consumer: some work, then a line in a file. The file says what was consumed, whatever becomes of the layer."""

from __future__ import annotations

import os
import time
from functools import cache

from django.conf import settings

from channels_classic.message import Message


def consume(message: Message) -> None:
    time.sleep(0.002)
    os.write(_evidence(), b"%d\n" % message["number"])  # one call: it is in the file whole, or not at all


@cache
def _evidence() -> int:
    return os.open(settings.EVIDENCE / f"{os.getpid()}.consumed", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


channel_routing = {"numbers": consume}
