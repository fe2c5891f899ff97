"""What `systemctl start` waits for."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving_parts import ServedNetwork

from ccdeploy.serving.fleet import ready


@contextmanager
def fleet_answers(*statuses: int) -> Iterator[str]:
    """A server whose answers have these statuses, the last one for ever."""
    left = list(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v2/health/ready"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_it_waits_until_the_server_is_ready() -> None:
    with fleet_answers(400, 503, 200) as url:
        assert ready.wait(url, 60.0, os.getpid()) == ready.READY


def test_it_gives_up() -> None:
    with fleet_answers(400) as url:
        assert ready.wait(url, 0.6) == ready.LATE


def test_it_does_not_wait_for_a_server_that_ended() -> None:
    with fleet_answers(400) as url:
        assert ready.wait(url, 60.0, _ended_process()) == ready.ENDED


def test_a_server_that_nobody_has_buried_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # until it has ended; it is a zombie until `wait`
    with fleet_answers(400) as url:
        assert ready.wait(url, 60.0, process.pid) == ready.ENDED
    process.stdout.close()
    process.wait()


def test_as_systemd_runs_it(server: ServedNetwork) -> None:
    """The real server; `MAINPID` is its process."""
    url = f"{server.running.http}/v2/health/ready"
    command = [sys.executable, "-m", "ccdeploy.serving.fleet.ready"]
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "MAINPID": str(os.getpid())}
    assert subprocess.run([*command, url, "60"], env=environment).returncode == ready.READY
    nobody = url.replace("/v2/health/ready", "/v2/nothing")
    environment["MAINPID"] = str(_ended_process())
    ended = subprocess.run([*command, nobody, "60"], env=environment, capture_output=True, text=True)
    assert ended.returncode == ready.ENDED
    assert "the server has ended" in ended.stderr
    assert subprocess.run(command, capture_output=True).returncode == ready.LATE
