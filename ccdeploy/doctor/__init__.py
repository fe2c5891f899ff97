"""What this machine can and cannot do: findings in groups, each with what mends it, and at the end what works here."""

from __future__ import annotations

from ccdeploy.doctor import abilities, gpu, hardware, native, serving, software
from ccdeploy.doctor.finding import Finding
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.machine.files import Files

__all__ = ["WORKS_HERE", "Finding", "examine"]

WORKS_HERE = abilities.GROUP
"""The group of findings about tasks; all others are about things."""


def examine(files: Files | None = None) -> list[Finding]:
    """Looks at everything that ccdeploy uses; never raises. Takes a few seconds.

    Args:
        files: the machine's files; a test gives others.
    """
    files = files or Files()
    report = probe_gpus()
    findings = [
        *hardware.findings(files, report),
        *software.findings(report),
        *gpu.findings(report),
        *native.findings([one.compute_capability for one in report.gpus]),
        *software.video(),
        *serving.findings(),
    ]
    return [*findings, *abilities.findings(findings, report)]
