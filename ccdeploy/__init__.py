"""ccdeploy: CCNet from a PyTorch checkpoint to the GPU at the edge."""

__version__ = "0.1.0"
