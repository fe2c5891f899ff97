"""ccdeploy: CCNet from a PyTorch checkpoint to the GPU at the edge.

As a library, in a few lines; `import ccdeploy` itself imports nothing:

    from pathlib import Path
    from ccdeploy.ccnet.loading import load_model
    from ccdeploy.engine.build import build_engine
    from ccdeploy.export import ExportOptions, export
    from ccdeploy.runners import open_runner

    model = load_model("ccnet_r50-d8_512x1024_40k_cityscapes", weights=Path("ccnet.pth"))
    export(model, Path("ccnet.onnx"), ExportOptions(precision="fp16"))
    build_engine(Path("ccnet.onnx"), Path("ccnet.engine"))
    with open_runner("ccnet.engine") as runner:
        logits = runner.infer({"input": pictures})["logits"]
"""

__version__ = "0.1.0"
