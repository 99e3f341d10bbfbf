"""nginx with Nchan, a publish and subscribe server in C: `python -m benchmarks.project.nchan PORT`.

What a socket of `/room` sends goes to all of its sockets; those of `/echo` stay idle.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.contenders import NCHAN

CONFIGURATION = """
load_module {module};
daemon off;
pid {folder}/pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 100000;
events {{ worker_connections 50000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_message_buffer_length 0;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location /room {{ nchan_pubsub websocket eventsource; nchan_channel_id room; }}
        location /echo {{ nchan_subscriber websocket eventsource; nchan_channel_id echo; }}
    }}
}}
"""


def main() -> None:
    folder = tempfile.mkdtemp(prefix="nchan-")
    path = Path(folder, "nginx.conf")
    path.write_text(CONFIGURATION.format(module=NCHAN, folder=folder, port=sys.argv[1]))
    print("nginx serves", flush=True)
    os.execvp("nginx", ["nginx", "-c", str(path), "-e", "stderr"])


if __name__ == "__main__":
    main()
