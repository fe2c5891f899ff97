"""The whole way on a real photograph: `python tools/demo.py FOLDER` deploys the small CCNet and says where to look."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import matplotlib.cbook

MODEL = "ccnet_r18-d8_edge"
SIZE = "512x512"


def main() -> None:
    """Runs `ccdeploy deploy` as a user would, with weights of a seed, and ends with its exit code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    photograph = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    command = ["deploy", MODEL, "--random-weights", "1", "--size", SIZE, "--precision", "fp32", "--precision", "fp16"]
    command += ["--images", str(photograph), "-o", str(folder)]
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        command += ["--no-engine"]  # TensorRT-RTX is published for Linux on x86-64 only
        print("No engine is built: TensorRT-RTX is published for Linux on x86-64 only.")
    print("$ ccdeploy", " ".join(command), flush=True)
    code = subprocess.run([sys.executable, "-m", "ccdeploy", *command]).returncode
    if code == 0:
        print()
        print(f"Look at {folder / 'comparison.png'}: the photograph, PyTorch's labels, each file's, the differences.")
        print("The weights are random, so the labels mean nothing; that all pictures of them are equal is the point.")
    sys.exit(code)


if __name__ == "__main__":
    main()
