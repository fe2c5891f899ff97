"""One thing that the doctor has to say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ccdeploy.errors import CcdeployError, first_line


@dataclass(frozen=True)
class Finding:
    """Whether a thing is there, what was seen, and what mends it if it is not."""

    subject: str
    ok: bool
    seen: str
    remedy: str = ""
    """Of a thing that is there: what would make it better."""
    group: str = ""


def guarded(subject: str, group: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a look, put into a group; an error on the way is a finding too, and hides none of the rest."""
    try:
        found = list(look())
    except CcdeployError as error:
        found = [Finding(subject, False, error.what, error.remedy)]
    except (Exception, SystemExit) as error:  # a damaged install fails in every way there is
        seen = f"could not be looked at: {type(error).__name__}: {first_line(error)}"  # type: ignore[arg-type]
        found = [Finding(subject, False, seen, "Install it again; if it is whole, this is a defect of ccdeploy.")]
    return [dataclasses.replace(finding, group=group) for finding in found]
