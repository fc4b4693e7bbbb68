"""A run with an embedded server, as a process of its own: python embedded_run.py HOME [hold].

Prints the endpoint, runs a flow of three tasks; with `hold` the flow waits inside until standard input closes.
"""

import os
import sys
from pathlib import Path

from deployments.embedded import prefect_server


def main() -> None:
    home, hold = Path(sys.argv[1]), "hold" in sys.argv
    with prefect_server(home) as endpoint:
        from prefect import flow, task

        @task
        def one(number: int) -> int:
            return number + 1

        @flow(name="embedded")
        def embedded() -> int:
            total = sum(one(n) for n in range(3))
            print(endpoint.model_dump_json(), flush=True)
            if hold:
                sys.stdin.read()
            return total

        assert embedded() == 6
    assert "PREFECT_API_URL" not in os.environ


if __name__ == "__main__":
    main()
