"""A Kubernetes API server for tests: real HTTP, the objects checked against the schemas, pods played by a script.

A pod's script says how it ends; `running` scripts start the pod's own command as a process of this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes_validate

Status = dict[str, Any]
Script = Callable[[dict[str, Any]], tuple[Status, str]]
"""A job's pod template → the pod's status and its log."""
_JOB = "batch.kubernetes.io/job-name"


class Double:
    """The state of the cluster.

    Attributes:
        lingers: how often what was deleted is still seen; math.inf: for ever, as on a node that is lost.
        failed_reason: why jobs fail whose pods failed.
        no_logs: how many readings of logs are refused.
        refuses: the status that everything but logs is answered with, and how often; 0: the connection breaks.
        shown: a pod's name and the number of the reading → which lines of its log that reading gives.
        once_seen: what happens in the cluster right after pods were listed for the first time.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.jobs: dict[str, Any] = {}
        self.services: dict[str, Any] = {}
        self.pods: dict[str, Any] = {}
        self.logs: dict[str, str] = {}
        self.created: list[Any] = []
        self.deleted: list[str] = []
        self.forbidden = False
        self.lingers: float = 0
        self.failed_reason = "BackoffLimitExceeded"
        self.shown: Callable[[str, int], slice] = lambda _pod, _reading: slice(None)
        self.once_seen: Callable[[], None] | None = None
        self.no_logs = 0
        self.refuses: tuple[int, float] = (0, 0)
        self.readings: dict[str, int] = {}
        self._ending: dict[str, float] = {}

    def create(self, manifest: Any) -> None:
        kubernetes_validate.validate(manifest, "1.37.0", strict=True)
        self.created.append(manifest)
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "Service":
            self.services[name] = manifest
            return
        self.jobs[name] = manifest | {"status": {}}
        for index in range(manifest["spec"]["completions"]):
            self._start_pod(name, index, manifest["spec"])

    def _start_pod(self, job: str, index: int, spec: Any) -> None:
        status, log = self.script(spec["template"]["spec"])
        self.add_pod(job, index, "abcde", status, log)

    def add_pod(self, job: str, index: int, suffix: str, status: Status, log: str = "", second: int = 0) -> None:
        """A pod of a job, the first of its index or one that replaces it; the job ends as its pods have."""
        name = f"{job}-{index}-{suffix}"
        self.logs[name] = log
        self.pods[name] = {
            "metadata": {
                "name": name,
                "creationTimestamp": f"2026-11-21T10:00:{second:02}Z",
                "labels": self.jobs[job]["spec"]["template"]["metadata"]["labels"] | {_JOB: job},
                "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            },
            "status": status,
        }
        self._settle(job)

    def set_status(self, pod: str, status: Status) -> None:
        """Have a pod stand otherwise, and its job with it."""
        self.pods[pod]["status"] = status
        self._settle(self.pods[pod]["metadata"]["labels"][_JOB])

    def _settle(self, job: str) -> None:
        phases = {pod["status"]["phase"] for pod in self.pods_of(job)}
        if phases <= {"Succeeded"}:
            self.jobs[job]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        elif "Failed" in phases:
            failed = {"type": "Failed", "status": "True", "reason": self.failed_reason}
            self.jobs[job]["status"] = {"conditions": [failed]}

    def pods_of(self, job: str) -> list[Any]:
        return [pod for pod in self.pods.values() if pod["metadata"]["labels"][_JOB] == job]

    def pass_deadline(self, job: str) -> None:
        """The job's activeDeadlineSeconds are over: its controller takes the pods away."""
        self._remove_pods(job)
        failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
        self.jobs[job]["status"] = {"conditions": [failed]}

    def delete(self, name: str) -> None:
        self.deleted.append(name)
        self._ending[name] = self.lingers
        self._take_away()

    def refused(self) -> int | None:
        """The status that this request is refused with; None: it is not."""
        status, left = self.refuses
        self.refuses = (status, left - 1)
        return status if left > 0 else None

    def look(self) -> None:
        """Somebody looks: what is being deleted has come a little nearer to its end."""
        self._ending = {name: left - 1 for name, left in self._ending.items()}
        self._take_away()

    def _take_away(self) -> None:
        for name in [name for name, left in self._ending.items() if left <= 0]:
            del self._ending[name]
            self.jobs.pop(name, None)
            self._remove_pods(name)

    def _remove_pods(self, job: str) -> None:
        self.pods = {name: pod for name, pod in self.pods.items() if pod["metadata"]["labels"][_JOB] != job}

    def pods_seen(self) -> None:
        """Somebody has been told of pods."""
        happens, self.once_seen = self.once_seen, None
        if happens:
            happens()

    def log(self, pod: str, timestamps: bool) -> str:
        """What one reading of a log gives."""
        self.readings[pod] = self.readings.get(pod, 0) + 1
        lines = list(enumerate(self.logs[pod].splitlines()))[self.shown(pod, self.readings[pod])]
        stamp = "2026-11-21T10:00:00.{:09}Z " if timestamps else ""
        return "".join(f"{stamp.format(number)}{line}\n" for number, line in lines)


def selected(objects: dict[str, Any], selector: str) -> list[Any]:
    """Those that carry a label."""
    name, _, value = selector.partition("=")
    return [found for found in objects.values() if found["metadata"]["labels"].get(name) == value]


def ended(code: int, reason: str = "", **status: Any) -> Status:
    """The status of a pod whose container ended."""
    terminated = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}
    container = {
        "name": "trainer",
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
        "state": {"terminated": terminated},
    }
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container], **status}


def running() -> Status:
    """The status of a pod at work."""
    return {"phase": "Running"}


def waiting(reason: str) -> Status:
    """The status of a pod whose container cannot start."""
    container = {
        "name": "trainer",
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
        "state": {"waiting": {"reason": reason}},
    }
    return {"phase": "Pending", "containerStatuses": [container]}


def run_command(pod: dict[str, Any]) -> tuple[Status, str]:
    """Run the pod's command here, as a container would: no standard input, its environment, its arguments."""
    container = pod["containers"][0]
    launcher = {"torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    first, *rest = container["command"]
    environment = {e["name"]: e["value"] for e in container["env"] if "value" in e and e["name"].startswith("PYTHON")}
    done = subprocess.run(
        [*launcher[first], *rest, *container["args"]],
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended(done.returncode), done.stdout + done.stderr


@contextmanager
def cluster(script: Script) -> Iterator[tuple[Double, Any]]:
    """A cluster, and the client's configuration for it."""
    from kubernetes import client

    double = Double(script)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double, configuration
    finally:
        server.shutdown()
        server.server_close()


def _handler(double: Double) -> type[BaseHTTPRequestHandler]:  # noqa: C901
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlparse(self.path).path, parse_qs(urlparse(self.path).query)
            if double.forbidden:
                self.answer(403, {"message": "forbidden"})
            elif found := re.search(r"/pods/([^/]+)/log$", path):
                double.no_logs -= 1
                if double.no_logs >= 0:
                    self.answer(500, {"message": "the node does not answer"})
                    return
                self.answer(200, double.log(found[1], query.get("timestamps", [""])[0].lower() == "true"))
            elif (status := double.refused()) is not None:
                self.refuse(status)
            elif path.endswith(("/pods", "/jobs")):
                double.look()
                kind, objects = ("PodList", double.pods) if path.endswith("/pods") else ("JobList", double.jobs)
                found_objects = selected(objects, query["labelSelector"][0])
                self.answer(200, {"kind": kind, "items": found_objects})
                if kind == "PodList" and found_objects:
                    double.pods_seen()
            else:
                job = double.jobs.get(path.rsplit("/", 1)[1])
                self.answer(200 if job else 404, job or {"message": "not found"})

        def do_POST(self) -> None:
            manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if double.forbidden:
                self.answer(403, {"message": "forbidden"})
                return
            known = double.jobs if manifest["kind"] == "Job" else double.services
            if manifest["metadata"]["name"] in known:
                self.answer(409, {"message": "already exists"})
                return
            double.create(manifest)
            self.answer(201, manifest)

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if (status := double.refused()) is not None:
                self.refuse(status)
                return
            name = self.path.rsplit("/", 1)[1].split("?")[0]
            known = double.services if "/services/" in self.path else double.jobs
            found = known.get(name)
            if "/services/" in self.path:
                double.services.pop(name, None)
            elif found:
                double.delete(name)
            gone = {"status": "Success"} if known is double.jobs else found
            self.answer(200 if found else 404, gone or {"message": "not found"})

        def refuse(self, status: int) -> None:
            if status:
                self.answer(status, {"message": "not now"})
            else:
                self.close_connection = True

        def answer(self, code: int, content: Any) -> None:
            body = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

    return Handler
