"""Why a server ended: the decisive lines of its log, not all of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from ccdeploy.errors import ArtefactError, CcdeployError, MissingError, ServerError, UsageError

_REFUSED = (
    re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.*)"),
    re.compile(r"failed to load model '(?P<model>[^']+)': (?P<reason>.*)"),
    re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.*)"),
    re.compile(r"^\| *(?P<model>\S+) *\| *\S+ *\| *UNAVAILABLE: (?P<reason>.*?) *\|?$"),
)
"""How releases of the server say that they do not take a model."""
_STUCK = re.compile(r"Failed to preinitialize Python stub: (?P<reason>.*)")
"""After this a server waits for the process of a Python model for ever."""
_FATAL = re.compile(r"^(?:error: |(?:E\d{4} .*\] )?\"?failed to start )(?P<reason>.*)")
_ALREADY_USED = re.compile(r"already in use|Address already in use", re.IGNORECASE)
_CONSEQUENCE = re.compile(r"depends on '[^']*' which has no loaded version|failed to load all models")
_PACKAGE_AGAIN = "Package the artefact again, or take the model out of the repository."
_SEE_LOG = "Its log above says more."
_LONGEST = 300
_MOST_REASONS = 3


def stuck(lines: Sequence[str]) -> CcdeployError | None:
    """The error for a server that is there but will never be ready, if its log says so."""
    found = next((match for match in map(_STUCK.search, lines) if match), None)
    if found is None:
        return None
    return ArtefactError(f"A model in Python cannot be run: {_cut(found['reason'])}.", _PACKAGE_AGAIN)


def explained_end(status: int, lines: Sequence[str]) -> CcdeployError:
    """The error for a server that ended before it was ready.

    Args:
        status: its exit status as `subprocess` has it.
        lines: the end of its log.
    """
    refused = reasons(lines)
    if refused:
        what = "; ".join(f"{model}: {reason}" for model, reason in list(refused.items())[:_MOST_REASONS])
        more = len(refused) - _MOST_REASONS
        return _refusal(f"The server does not take {what}{f'; and {more} more' if more > 0 else ''}.")
    fatal = [match["reason"] for match in map(_FATAL.search, lines) if match]
    said = _cut(fatal[-1]) if fatal else _last_words(lines)
    if port_taken(lines):
        return UsageError(
            f"The server could not listen: {said}.", "Another program took the port meanwhile: choose other ports."
        )
    return ServerError(f"The server ended before it was ready ({ending(status)}): {said}.", _SEE_LOG)


def port_taken(lines: Sequence[str]) -> bool:
    """Whether the server ended because a port was in use."""
    return any(_ALREADY_USED.search(line) for line in lines)


def reasons(lines: Sequence[str]) -> dict[str, str]:
    """Model -> why the server does not take it, without those that only miss another."""
    found: dict[str, str] = {}
    for line in lines:
        for pattern in _REFUSED:
            match = pattern.search(line)
            if match and match["model"] not in found:
                found[match["model"]] = _cut(match["reason"])
    causes = {model: reason for model, reason in found.items() if not _CONSEQUENCE.search(reason)}
    return causes or found


def ending(status: int) -> str:
    """An exit status for people."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _refusal(what: str) -> CcdeployError:
    if "unable to find backend library" in what:
        return MissingError(what, "Use a server that has the backend, such as NVIDIA's image, or package with another.")
    if "No module named" in what:
        return MissingError(
            what, "The server's Python must be the one that has ccdeploy: start it with `ccdeploy serve` from there."
        )
    return ArtefactError(what, _PACKAGE_AGAIN)


def _cut(reason: str) -> str:
    """The first line of a reason, without the quotes, codes and traces around it."""
    first = re.split(r"\\n|\n", reason)[0].strip().rstrip('".| ')
    first = re.sub(r"^(Internal|Invalid argument|Unavailable|Not found|Unsupported)( error)?(: | - )", "", first)
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."


def _last_words(lines: Sequence[str]) -> str:
    """The last errors; else the last lines."""
    spoken = [line for line in lines if line.strip() and line[0] not in "+|"]
    errors = [line for line in spoken if re.match(r"E\d{4} |.*\berror\b", line, re.IGNORECASE)]
    words = [_cut(re.sub(r"^[EWI]\d{4} \S+ \d+ ", "", line)) for line in (errors or spoken)[-2:]]
    return " | ".join(words) or "it said nothing"
