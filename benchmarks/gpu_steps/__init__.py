"""The steps of the GPU check, one module each. They need PyTorch and numpy, and of ccdeploy what needs no more."""
