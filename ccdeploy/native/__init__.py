"""The native library `libccdeploy_plugins.so`: which GPUs it has code for, where it is kept, and how it is compiled."""
