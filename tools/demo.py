"""The whole way on pictures that an eye can judge: `python tools/demo.py FOLDER` deploys the small trained CCNet."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

MODEL = "ccnet_r18-d8_streets"
LABELLED = 20
PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    """Runs ccdeploy as a user would, and exits with its code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    command = ["deploy", MODEL]
    for precision in PRECISIONS:
        command += ["--precision", precision]
    command += ["--dataset", "streets", "--limit", str(LABELLED), "-o", str(folder)]
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        command.append("--no-engine")
        print("No engine is built: TensorRT-RTX is published for Linux on x86-64 only.")
    print("$ ccdeploy", " ".join(command), flush=True)
    code = subprocess.run([sys.executable, "-m", "ccdeploy", *command]).returncode
    if code:
        sys.exit(code)
    print(f"\nOpen {folder / 'report.html'} in a browser.")


if __name__ == "__main__":
    main()
