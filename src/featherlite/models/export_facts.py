"""What a bundle's export.json says of an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featherlite.bundle import Bundle
from featherlite.errors import BundleError

__all__ = ["export_facts", "refused_by_tflm"]


def export_facts(bundle: Bundle, name: str) -> dict[str, Any]:
    """export.json of an export.

    Raises:
        BundleError: absent, or not an object.
    """
    path = f"exports/{name}/export.json"
    facts = bundle.read_json(path)
    if not isinstance(facts, dict):
        raise BundleError(f"{path} must hold an object.", "Run the step 'quantize' or 'export' again.")
    return facts


def refused_by_tflm(facts: Mapping[str, Any]) -> str:
    """Why TensorFlow Lite Micro does not run an export, as its export.json says; empty where it may."""
    said = facts.get("tflm")
    return str(said.get("why") or "") if isinstance(said, dict) else ""
