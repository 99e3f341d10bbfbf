"""The codes that close a WebSocket: RFC 6455, section 7.4.1, and IANA's registry."""

from __future__ import annotations

NORMAL = 1000
PROTOCOL_ERROR = 1002
NO_STATUS = 1005  # never sent: a close frame without a code
ABNORMAL = 1006  # never sent: no close frame came
BAD_DATA = 1007
POLICY = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013


def is_close_code(code: int) -> bool:
    """Return True if `code` may be in a close frame."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, NO_STATUS, ABNORMAL))
