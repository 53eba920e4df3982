"""Reports and runs in the formats of other tools; a new one is a file and a line here."""

from .delphi import Delphi
from .export import Export
from .saebench import SAEBench
from .saedashboard import SAEDashboard

_ALL: tuple[Export, ...] = (SAEDashboard(), Delphi(), SAEBench())
EXPORTS = {export.name: export for export in _ALL}

__all__ = ["EXPORTS", "Export"]
