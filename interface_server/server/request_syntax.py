"""Rules of RFC 9112 that the parser does not apply: request lines, targets, versions and transfer codings. Pure.

A request that a proxy in front may interpret differently from this server is refused (request smuggling).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .request_limits import Refused

Header = tuple[bytes, bytes]

VERSIONS = ("1.0", "1.1")

_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\x00-\x20\x7f]+ HTTP/(\d\.\d)\r\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^?#]*)(\?[^#]*)?", re.IGNORECASE)
_HOST = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d*)?", re.ASCII)


def status_of_error(head: bytes, *, invalid_method: bool) -> int:
    """Return the status for a head that the parser rejected: 501 for its method, 505 for its version, else 400.

    Only a request line that is otherwise correct gets one of the first two.
    """
    line = _LINE.match(head)
    if line is None:
        return 400
    if invalid_method:
        return 501
    return 400 if line.group(1).decode() in VERSIONS else 505


def check_request_line(head: bytes, method: bytes, target: bytes, version: str) -> None:
    """Raise `Refused` unless the request line is exactly as in RFC 9112, section 3.

    The parser also accepts other protocols (`RTSP/1.0`, `ICE/1.0`) and further spaces. It does not show the line, so
    the line that its parts make is compared with `head`, the bytes from the request line on: elsewhere, in a header or
    in a body, a client may write it too.
    """
    if version not in VERSIONS:
        raise Refused(505)
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
    if not head.startswith(line):
        raise Refused(400)
    if method == b"CONNECT":
        raise Refused(501)  # for proxies (RFC 9110, section 9.3.6)


def check_headers(headers: Sequence[Header], version: str) -> None:
    """Raise `Refused` for a `Host` or a `Transfer-Encoding` that is missing, repeated or not understood."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise Refused(400)  # RFC 9112, section 3.2
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        raise Refused(400)
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if not codings:
        return
    names = [coding.strip().lower() for coding in b",".join(codings).split(b",")]
    if version == "1.0" or names[-1] != b"chunked" or names.count(b"chunked") > 1:
        raise Refused(400)  # RFC 9112, sections 6.1 and 6.3
    if len(names) > 1:
        raise Refused(501)  # RFC 9112, section 6.1: a coding that is not understood


def origin_form(method: bytes, target: bytes, headers: list[Header]) -> bytes:
    """Return the target as a path and a query, or `*`. Raises `Refused` for any other (RFC 9112, section 3.2).

    The host of an absolute target replaces the `Host` header, which must be ignored then.
    """
    if b"#" in target:
        raise Refused(400)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refused(400)
    host, path, query = absolute.group(1), absolute.group(2), absolute.group(3) or b""
    if not host or host.startswith(b":") or not _HOST.fullmatch(host):
        raise Refused(400)
    headers[:] = [(b"host", host), *(pair for pair in headers if pair[0] != b"host")]
    return (path or b"/") + query
