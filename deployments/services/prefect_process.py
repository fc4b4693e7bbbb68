"""How a Prefect server of ours is started: by `tuneloop up` with everything, embedded with what a single run needs."""

from __future__ import annotations

from pathlib import Path

from deployments.services.quickly import quickly

_ALL_OFF = (
    "SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "CLEANUP_RECONCILER", "PAUSE_EXPIRATIONS", "FOREMAN",
    "REPOSSESSOR", "TRIGGERS",
)  # fmt: skip


def server_command(port: int) -> tuple[str, ...]:
    """The command that Prefect's own background mode uses."""
    factory = "prefect.server.api.server:create_app"
    server = (*quickly("uvicorn"), "--factory", factory, "--host", "127.0.0.1", "--port", str(port))
    return (*server, "--log-level", "warning", "--lifespan", "on", "--timeout-keep-alive", "5")


def api_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def base_environment(home: Path) -> dict[str, str]:
    """What clients and servers of one home share."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_PROFILES_PATH": str(home / "prefect" / "profiles.toml"),  # a profile of the user's must not leak in
        "DO_NOT_TRACK": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # never a second server of Prefect's own
    }


def full_server_environment(home: Path, port: int) -> dict[str, str]:
    """A server with scheduler, automations and UI."""
    return {
        **base_environment(home),
        "PREFECT_API_URL": api_url(port),
        "PREFECT_UI_API_URL": api_url(port),
        "PREFECT_UI_STATIC_DIRECTORY": str(home / "prefect" / "ui"),  # site-packages may be read-only
        "PREFECT__SERVER_FINAL": "1",  # as in Prefect's own background mode: less memory
    }


def embedded_server_environment(home: Path, port: int) -> dict[str, str]:
    """A server that records one run: no UI, no scheduler, no automations, the same database.

    Automations stay off because the server ends with the run: what one would start could not be promised.
    """
    off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _ALL_OFF}
    return {
        **base_environment(home), **off,
        "PREFECT_API_URL": api_url(port),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # else it loads every integration to say there is nothing
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
        "PREFECT__SERVER_FINAL": "1",  # as in Prefect's own background mode: less memory
    }  # fmt: skip
