"""The whole way on pictures that an eye can judge: `python tools/demo.py FOLDER` deploys the small trained CCNet."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from PIL import Image

from ccdeploy.datasets.streets import HELD_OUT_SEED, Streets
from ccdeploy.files import written_whole

MODEL = "ccnet_r18-d8_streets"
PICTURES = 4
LABELLED = 20


def main() -> None:
    """Draws scenes, runs ccdeploy on them as a user would, and ends with the first exit code that is not 0."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    scenes = folder / "scenes"
    for sample in Streets(PICTURES, seed=HELD_OUT_SEED):
        with written_whole(scenes / f"{sample.name}.png") as temporary:
            Image.fromarray(sample.picture).save(temporary, format="PNG")
    deploy = ["deploy", MODEL, "--precision", "fp32", "--precision", "fp16", "--images", str(scenes), "-o", str(folder)]
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        deploy.append("--no-engine")
        print("No engine is built: TensorRT-RTX is published for Linux on x86-64 only.")
    files = [str(folder / f"{MODEL}.{precision}.onnx") for precision in ("fp32", "fp16")]
    for command in (deploy, ["verify", *files, "--dataset", "streets", "--limit", str(LABELLED)]):
        print("$ ccdeploy", " ".join(command), flush=True)
        code = subprocess.run([sys.executable, "-m", "ccdeploy", *command]).returncode
        print()
        if code:
            sys.exit(code)
    print(f"Look at {folder / 'comparison.png'}: a street scene, PyTorch's labels, each file's, and the differences.")


if __name__ == "__main__":
    main()
