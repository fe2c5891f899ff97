"""The same deployment behind Triton Inference Server: the repository it serves, the server itself, its clients.

ccdeploy writes no server: it prepares what Triton serves (`repository`, `backend`), starts it (`server`), talks to it
(`client`) and renders what a fleet needs (`fleet`). `contract` is what these parts agree on. docs/triton.md is the way
through.
"""
