"""The real supervisor with small services, as a process of its own: python fake_stack.py PORT_ONE PORT_TWO [MODE].

`one` is a web server, `two` needs it. MODE `broken`: `two` ends at once; MODE `offspring`: `one` has a child that is
in a session of its own and would outlive it; MODE `stranger`: somebody else answers on the port of `two`, which says
itself whether it is ready; MODE `unloggable`: the log of `two` is a folder.
"""

import http.server
import sys
import threading
from pathlib import Path

from deployments.services.spec import Request, Service
from deployments.services.supervisor import main

_OFFSPRING = (
    "import subprocess, sys, http.server as h;"
    "subprocess.Popen(['sleep', '300'], start_new_session=True);"
    "h.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


_SLOW = (
    "import sys, time, http.server as h; time.sleep(0.6);"
    "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


def fake_services(request: Request) -> tuple[Service, ...]:
    ports, mode = [request.ports.prefect, request.ports.worker], (request.model_name or "")
    commands = [(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1") for port in ports]
    if mode == "offspring":
        commands[0] = (sys.executable, "-c", _OFFSPRING, str(ports[0]))
    if mode == "broken":
        commands[1] = (sys.executable, "-c", "raise SystemExit('no such luck')")
    if mode == "stranger":
        commands[1] = (sys.executable, "-c", _SLOW, str(ports[1]))
        stranger = http.server.ThreadingHTTPServer(("127.0.0.1", ports[1]), http.server.SimpleHTTPRequestHandler)
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
    if mode == "unloggable":
        Path(request.home, "logs", "two.log").mkdir(parents=True)
    return tuple(
        Service(
            name=name,
            command=command,
            environment={},
            port=port,
            health_url=f"http://127.0.0.1:{port}/",
            log=f"{request.home}/logs/{name}.log",
            ready_states={"serving": ""} if mode == "stranger" and name == "two" else {},
            needs=needs,
        )
        for name, command, port, needs in zip(("one", "two"), commands, ports, ((), ("one",)), strict=True)
    )


if __name__ == "__main__":
    main(fake_services, first_pause_seconds=0.1)
