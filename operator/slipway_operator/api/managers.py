"""The names under which the operator owns fields (server-side apply)."""

from __future__ import annotations

from typing import Final

FIELD_MANAGER: Final = "slipway-operator"
"""Owns every field that a plan applies."""
HANDOVER_MANAGER: Final = "slipway-operator-handover"
"""Owns `replicas` of a Deployment between the operator, which lets go of it, and an autoscaler.

A field that its last owner drops goes back to its default, and that is 1.
"""
