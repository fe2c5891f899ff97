"""The whole way at once, into one folder: files, engines, verification, accuracy, a benchmark, and the page of it all.

from pathlib import Path
from ccdeploy.ccnet.loading import load_model
from ccdeploy.deploy import EngineOptions, deploy
from ccdeploy.export import ExportOptions

deploy(lambda: load_model("ccnet_r18-d8_streets"), Path("deployed"), [ExportOptions()], EngineOptions("none"))
"""

from ccdeploy.deploy.options import NO_ENGINE, EngineOptions, Further, Labelled
from ccdeploy.deploy.running import Deployment, deploy

__all__ = ["NO_ENGINE", "Deployment", "EngineOptions", "Further", "Labelled", "deploy"]
