"""Whether a network fits a 16-bit float type: weights and values that overflow, weights that underflow, what helps."""

from ccdeploy.ranges.check import Subject, check_ranges, check_weights

__all__ = ["Subject", "check_ranges", "check_weights"]
