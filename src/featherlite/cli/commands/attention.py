"""shows where a network looks in photos"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from featherlite.cli.arguments import CommandOptions, ManyPaths, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import DataError, RequestError

if TYPE_CHECKING:
    from featherlite.bundle import Bundle
    from featherlite.evaluate.attention import Attention, AttentionViewer

ENDING = ".attention.png"
BATCH = 16


class AttentionOptions(CommandOptions):
    """What `featherlite attention` takes."""

    bundle: Annotated[Path, Positional()]
    """a bundle or a run's folder; what is shown is its network, not an export"""
    images: ManyPaths
    """photos, or folders of photos"""
    out: Path = Field()
    """folder for the pictures, one a photo: NAME.attention.png"""
    method: Literal["auto", "attention", "activation"] = "auto"
    """the network's own spatial attention, or what speaks for a class; auto takes attention where there is one"""
    label: str | None = None
    """ask what speaks for this label, instead of the one that the network names"""


def main(argv: list[str], terminal: Terminal) -> int:
    """Writes one picture a photo; returns 1 where a photo could not be read, which is listed."""
    made = parser("featherlite attention", "Show where a network looks in photos.")
    add_fields(made, AttentionOptions)
    values = vars(made.parse_args(argv))
    options = parse(
        AttentionOptions, {key: values[key] for key in AttentionOptions.model_fields}, "featherlite attention"
    )
    files = list(_photos(options.images))
    if not files:
        raise RequestError(
            f"There is no photo in {', '.join(map(str, options.images))}.", "Name photos or their folder."
        )
    bundle = _opened(options.bundle)
    from featherlite.evaluate.attention import METHODS, AttentionViewer
    from featherlite.models.framework import start_keras

    start_keras("Showing where a network looks")
    viewer = AttentionViewer(bundle, options.method, options.label)
    progress = terminal.progress()
    progress.start("looking", len(files))
    results = []
    for start in range(0, len(files), BATCH):
        results += _written(bundle, viewer, files[start : start + BATCH], options.out)
        progress.advance(len(files[start : start + BATCH]))
    progress.finish()
    terminal.close()
    for entry in results:
        terminal.show(_told(entry))
    if any("look" in entry for entry in results):
        terminal.show(f"Shown is {METHODS[viewer.method]}.")
    terminal.finish({"method": viewer.method, "results": [_json(entry) for entry in results]})
    return 1 if any("error" in entry for entry in results) else 0


def _opened(path: Path) -> Bundle:
    from featherlite.bundle import Bundle

    if path.is_file():
        raise RequestError(f"{path} is no bundle: an artefact shows none of its insides.", "Give the bundle's folder.")
    return Bundle.open(path)


def _photos(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Each photo with the name of its picture, relative to the folder for them; our own pictures are left out.

    Of a folder every photo in it, sorted, under the folders that it lies in there.
    """
    from featherlite.runtime.predictor import SUFFIXES

    taken: set[str] = set()
    for path in paths:
        within = path.is_dir()
        found = sorted(one for one in path.rglob("*") if one.is_file()) if within else [path]
        for file in found:
            if within and (file.suffix.lower() not in SUFFIXES or file.name.endswith(ENDING)):
                continue
            named = (file.relative_to(path) if within else Path(file.name)).with_suffix("")
            endings = chain([ENDING], (f"-{number}{ENDING}" for number in count(2)))
            pictures = (named.with_name(named.name + ending) for ending in endings)
            picture = next(one for one in pictures if str(one).casefold() not in taken)
            taken.add(str(picture).casefold())  # A.jpg and a.png are one file on some disks
            yield file, picture


def _written(
    bundle: Bundle, viewer: AttentionViewer, files: Sequence[tuple[Path, Path]], out: Path
) -> list[dict[str, Any]]:
    """What came of each photo, in their order; those that cannot be read have their error."""
    import numpy as np

    from featherlite.preprocess import decode

    entries: list[dict[str, Any]] = []
    images, pixels = {}, []
    for file, picture in files:
        try:
            images[file] = decode(file)
            pixels.append(bundle.preprocess(images[file]))
            entries.append({"path": str(file), "picture": out / picture, "image": images[file]})
        except DataError as error:
            entries.append({"path": str(file), "error": str(error)})
    looks = iter(viewer.look(np.stack(pixels)) if pixels else ())
    for entry in entries:
        if "error" not in entry:
            entry["look"] = look = next(looks)
            _draw(bundle, entry.pop("image"), look, entry["picture"])
    return entries


def _draw(bundle: Bundle, image: Any, look: Attention, target: Path) -> None:
    from featherlite.bundle import storage_guard, write_atomically
    from featherlite.evaluate.attention import METHODS
    from featherlite.report.overlay import Caption, overlay_picture, panel_preprocess

    photo = panel_preprocess(bundle.preprocess)(image)
    content = io.BytesIO()
    overlay_picture(photo, look.places, Caption(look.label, look.probability, METHODS[look.method])).save(
        content, "PNG", optimize=True
    )
    with storage_guard(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content.getvalue())


def _told(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"not shown: {entry['error']}"
    look = entry["look"]
    return f"{entry['path']}: {look.label} {look.probability:.1%} -> {entry['picture']}"


def _json(entry: dict[str, Any]) -> dict[str, Any]:
    if "error" in entry:
        return entry
    look = entry["look"]
    return {
        "path": entry["path"],
        "picture": str(entry["picture"]),
        "label": look.label,
        "probability": round(look.probability, 6),
        "method": look.method,
        "places": [[round(float(value), 4) for value in row] for row in look.places],
    }
