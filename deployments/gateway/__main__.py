"""`python -m deployments.gateway --model NAME [--version N] [--host H] [--port P] [--key-file F]`."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from pathlib import Path

from tasks.adapters.cycles import collect_rarely
from tasks.adapters.processes import die_with_parent, emit
from tasks.adapters.threads import thread_environment
from tasks.errors import EnvironmentUnusable, TuneloopError
from tasks.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Serve until ended. Announces its address as an event line on standard output."""
    collect_rarely()
    chosen = _parser().parse_args(arguments)
    os.environ.update(thread_environment())  # read by torch when it is loaded
    if chosen.die_with_parent:
        die_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        return _serve(chosen)
    except TuneloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments.gateway", description=__doc__)
    parser.add_argument("--model", required=True, help="registered name")
    parser.add_argument("--version", type=int, help="serve this version only, instead of the champion")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, help="port; 0: a free one; default: TUNELOOP_GATEWAY_PORT")
    parser.add_argument("--key-file", type=Path, help="file with the key; default: HOME/keys/gateway.key")
    parser.add_argument("--no-request-log", action="store_true", help="log no requests (smoke call before a release)")
    parser.add_argument("--die-with-parent", action="store_true", help="end when standard input closes")
    return parser


def _serve(chosen: argparse.Namespace) -> int:
    from tasks.adapters.api_keys import read_key_file

    settings = Settings()
    read_key_file(chosen.key_file or settings.root / "keys" / "gateway.key")
    listener = _listen(chosen.host, settings.gateway_port if chosen.port is None else chosen.port)
    import uvicorn

    from deployments.gateway.app import make_app
    from deployments.gateway.generation import Generation
    from deployments.gateway.models import ModelHolder

    app = make_app(ModelHolder(chosen.model, chosen.version), Generation(), request_log=not chosen.no_request_log)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    host, port = listener.getsockname()[:2]
    emit({"event": "listening", "url": f"http://{host}:{port}", "port": port})
    server.run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        raise EnvironmentUnusable(
            "the gateway cannot listen",
            where=f"{host}:{port}",
            why=error.strerror or str(error),
            remedy="choose another port with --port or TUNELOOP_GATEWAY_PORT, or end what uses this one",
        ) from error
    return listener


if __name__ == "__main__":
    raise SystemExit(main())
