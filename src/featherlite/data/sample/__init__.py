"""Sample photos: birds of invented species that featherlite draws itself, for demos and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PlantedFault", "SampleConfig", "SampleReport", "draw_samples", "is_drawn"]

Progress = Callable[[int, int], None]


class SampleConfig(BaseModel):
    """What to draw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    species: int = Field(8, ge=2, le=14, description="How many invented species; among the first 8 are 3 alike pairs.")
    photos: int = Field(60, ge=1, le=100_000, description="How many photos of each species.")
    px: int = Field(160, ge=32, le=1024, description="Width and height of each photo in pixels.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Same seed, same photos, byte for byte.")
    faults: bool = Field(False, description="Also plant faulty files (duplicates, truncated, wrong label, ...).")


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """One faulty file: its path below the folder, its fault, and the original's path or the true species."""

    path: str
    fault: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What was drawn: the folder, the species in order, the pairs that look alike, every planted fault."""

    out: Path
    species: tuple[str, ...]
    alike: tuple[tuple[str, str], ...]
    photos: int
    files: int
    px: int
    seed: int
    faults: tuple[PlantedFault, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "out": str(self.out),
            "species": list(self.species),
            "alike": [list(pair) for pair in self.alike],
            "photos": self.photos,
            "files": self.files,
            "px": self.px,
            "seed": self.seed,
            "faults": [{"path": f.path, "fault": f.fault, "of": f.of} for f in self.faults],
        }


def draw_samples(
    out: Path, config: SampleConfig, progress: Progress | None = None, *, processes: int = 1
) -> SampleReport:
    """The report on a new folder `out`: one sub-folder of drawn JPEGs per species, README.txt, faults.csv.

    `progress` is called with (photos done, photos in all). With `processes` above 1 that many spawned processes
    draw, so a calling script needs the usual `if __name__ == "__main__"` guard; the files are the same. The folder
    appears under its name only once it is complete; what a killed call left of it beside `out` is swept away.

    Raises:
        RequestError: `out` is a file or holds anything already.
        StorageError: `out` cannot be written.
    """
    from featherlite.data.sample.partial import partial_folder
    from featherlite.errors import StorageError

    out = out.absolute()
    _refuse_occupied(out)
    try:
        with partial_folder(out) as partial:
            report = _fill(partial, out, config, progress, processes)
            _refuse_occupied(out)
            if out.is_dir():
                out.rmdir()
            partial.rename(out)
    except OSError as error:
        raise StorageError(
            f"Cannot write the sample photos to {str(out)!r}: {error.strerror or error}.",
            "Choose another folder, or make room and check its permissions.",
        ) from error
    return report


def is_drawn(folder: Path) -> bool:
    """Whether the folder holds sample photos drawn by featherlite, by the README.txt beside them."""
    from featherlite.data.sample.readme import TITLE

    try:
        with (folder / "README.txt").open(encoding="utf-8") as readme:
            return readme.readline(len(TITLE) + 1).strip() == TITLE
    except (OSError, UnicodeDecodeError):
        return False


def _refuse_occupied(out: Path) -> None:
    from featherlite.errors import RequestError, StorageError

    hint = "Name a folder that does not exist yet, or empty this one first."
    if out.is_dir():
        try:
            occupied = next(out.iterdir(), None) is not None
        except OSError as error:
            raise StorageError(f"Cannot look into {str(out)!r}: {error.strerror or error}.", hint) from error
        if occupied:
            raise RequestError(
                f"The folder {str(out)!r} is not empty; sample photos go to a new or empty folder.", hint
            )
    elif out.exists() or out.is_symlink():
        raise RequestError(f"{str(out)!r} is not a folder; sample photos go to a new or empty folder.", hint)


def _fill(folder: Path, out: Path, config: SampleConfig, progress: Progress | None, processes: int) -> SampleReport:
    """Draw everything into `folder`; the report speaks of `out`."""
    from featherlite.data.sample.faults import plant_faults, write_faults
    from featherlite.data.sample.readme import readme_text
    from featherlite.data.sample.species import ALIKE, SPECIES
    from featherlite.data.sample.workers import drawn

    names = tuple(kind.name for kind in SPECIES[: config.species])
    for name in names:
        (folder / name).mkdir()
    total = config.species * config.photos
    jobs = [(config.seed, kind, index, config.px) for kind in range(config.species) for index in range(config.photos)]
    for done, (job, data) in enumerate(zip(jobs, drawn(jobs, processes), strict=True), start=1):
        (folder / photo_path(names[job[1]], job[2])).write_bytes(data)
        if progress is not None:
            progress(done, total)
    faults = plant_faults(folder, config, names) if config.faults else ()
    if config.faults:
        write_faults(folder / "faults.csv", faults)
    alike = tuple(pair for pair in ALIKE if set(pair) <= set(names))
    (folder / "README.txt").write_text(readme_text(config, names, alike), encoding="utf-8")
    return SampleReport(out, names, alike, total, total + len(faults), config.px, config.seed, faults)


def photo_path(species: str, index: int) -> str:
    """The path below the folder of photo number `index` (from 0) of a species."""
    return f"{species}/{index + 1:03d}.jpg"
