"""The machine that work runs on: what it is, and what its sensors say while the work runs."""

from ccdeploy.machine.description import Machine, describe_machine
from ccdeploy.machine.monitor import Conditions, Monitor
from ccdeploy.machine.opening import open_sensors
from ccdeploy.machine.sensors import NoSensors, Reading, Sensors

__all__ = [
    "Conditions",
    "Machine",
    "Monitor",
    "NoSensors",
    "Reading",
    "Sensors",
    "describe_machine",
    "open_sensors",
]
