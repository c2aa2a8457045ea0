"""The networks that a long step passes on its way, kept so that a killed one goes on from the last."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featherlite.bundle import storage_guard, write_atomically
from featherlite.models.network import network_bytes, network_from
from featherlite.step import Context

if TYPE_CHECKING:
    import keras

__all__ = ["Reached", "reach"]


@dataclass(frozen=True)
class Reached:
    """A network on the way, and what is known of it (JSON)."""

    network: keras.Model
    facts: dict[str, Any] = field(default_factory=dict)


def reach(ctx: Context, name: str, make: Callable[[Context], Reached]) -> Reached:
    """What `make` comes to, made once: after a kill it is read back, with all that it recorded.

    `make` gets a part of the context, named `name`, which must be unique within the step. The same network comes back
    whether it was made now or read, byte for byte, so that a resumed step ends as an undisturbed one.

    Raises:
        StorageError: it cannot be stored; former milestones are intact.
    """
    file, note = ctx.resume / f"{name}.keras", ctx.resume / f"{name}.json"
    if file.is_file() and note.is_file():
        stored, content = json.loads(note.read_text("utf-8")), file.read_bytes()
        if stored["sha256"] == hashlib.sha256(content).hexdigest():
            ctx.details.setdefault("parts", {})[name] = stored["details"]
            for message in stored["warnings"]:
                ctx.warn(message)
            return Reached(network_from(content), stored["facts"])
    part, before = ctx.part(name), len(_warnings(ctx))
    made = make(part)
    content = network_bytes(made.network)
    document = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "facts": made.facts,
        "details": part.details,
        "warnings": _warnings(ctx)[before:],
    }
    with storage_guard(ctx.resume):
        write_atomically(file, content)
        write_atomically(note, json.dumps(document).encode())
    shutil.rmtree(part.resume, ignore_errors=True)
    return Reached(network_from(content), json.loads(json.dumps(made.facts)))


def _warnings(ctx: Context) -> list[str]:
    """The warnings so far of the step that this is a part of."""
    while ctx.whole is not None:
        ctx = ctx.whole
    return list(ctx.details.get("warnings", ()))
