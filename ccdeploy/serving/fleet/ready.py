"""Waits until a server is ready: what `systemctl start` waits for.

Run as `python -m ccdeploy.serving.fleet.ready URL SECONDS`; systemd says in MAINPID which process must live meanwhile.
Exit codes: 0 ready; 1 that process has ended; 2 time is over.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
import urllib.request
from pathlib import Path

READY, ENDED, LATE = 0, 1, 2
_EVERY_S = 0.25
_ANSWER_S = 5.0


def wait(url: str, timeout_s: float, process: int | None = None) -> int:
    """Asks until the server is ready.

    Args:
        url: of the readiness check; any answer but 200 means not yet.
        timeout_s: seconds until it is given up.
        process: that must be there; None: any.

    Returns:
        READY, ENDED or LATE.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach loopback
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process is not None and not _alive(process):
            return ENDED
        try:
            with opener.open(url, timeout=_ANSWER_S) as answer:
                if answer.status == 200:
                    return READY
        except (OSError, http.client.HTTPException):  # not yet: URLError is an OSError
            pass
        time.sleep(_EVERY_S)
    return LATE


def _alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        )
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def main() -> int:
    """The exit code."""
    if len(sys.argv) != 3:
        print("usage: python -m ccdeploy.serving.fleet.ready URL SECONDS", file=sys.stderr)
        return LATE
    main_process = os.environ.get("MAINPID", "")
    outcome = wait(sys.argv[1], float(sys.argv[2]), int(main_process) if main_process.isdecimal() else None)
    if outcome != READY:
        what = "the server has ended" if outcome == ENDED else f"the server was not ready within {sys.argv[2]} s"
        print(f"{what}: {sys.argv[1]}", file=sys.stderr)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
