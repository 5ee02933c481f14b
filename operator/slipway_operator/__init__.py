"""The Slipway operator: watches ModelDeployments and reconciles what they ask for."""

from typing import Final

__version__: Final = "0.1.0"
