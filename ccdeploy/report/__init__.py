"""One page that shows a deployment: a single HTML file that needs no network.

from ccdeploy.report import write_report

write_report(Path("deployed"))
"""

from ccdeploy.report.writing import write_report

__all__ = ["write_report"]
