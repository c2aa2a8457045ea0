"""The model folder: one trained model and everything needed to trust it. Read, written and verified without Keras.

A `Bundle` is a value. Methods that change something return a new one, and nothing reaches the disk before `save`,
which writes under a temporary name and renames: a crash leaves either the old folder or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Self, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from featherlite.errors import BundleError, RequestError, StorageError
from featherlite.history import StepReport
from featherlite.preprocess import Preprocess

Parsed = TypeVar("Parsed", bound=BaseModel)

__all__ = ["FORMAT_VERSION", "Bundle", "Label", "Manifest", "parse", "sha256_of", "storage_guard", "write_atomically"]

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
NETWORK = "model.keras"
QUANTIZATION = "quantization.json"
"""The ranges that the network was trained for int8 in, where it was."""
LOCAL = "local.json"
"""Facts of this machine (where the photos lie). Not hashed, not copied, safe to delete before sharing."""
WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a disk refuses to those alone who write."""


class Label(BaseModel):
    """One class: the name shown, and its taxon where known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    scientific_name: str | None = None
    taxon_key: str | None = None


class Manifest(BaseModel):
    """bundle.json: what the folder holds. The id is the hash of everything else in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    id: str
    parent: str | None = None
    featherlite: str = Field(description="version that wrote it")
    subject: str = Field("network", description="what speaks for the bundle: 'network', or the name of an export")
    files: dict[str, str] = Field(description="POSIX path within the folder -> sha256")

    def expected_id(self) -> str:
        """The id that the other fields imply: the first 16 hex digits of their sha256."""
        text = json.dumps(self.model_dump(exclude={"id"}), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Bundle:
    """One model as a value: named files (on disk or in memory), what speaks for it, and where it came from."""

    files: Mapping[str, Path | bytes] = field(default_factory=lambda: MappingProxyType({}))
    subject: str = "network"
    parent: str | None = None
    id: str | None = None
    home: Path | None = None

    # ---- reading -------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The bundle at `path` (a bundle folder, or a run's folder, whose last bundle is meant), fully verified.

        Raises:
            BundleError: not a bundle; unknown format version; a file missing, changed, linked or outside the folder.
        """
        root = Path(path)
        if not (root / MANIFEST).exists() and (root / "bundle" / MANIFEST).exists():
            root = root / "bundle"
        manifest = _read_manifest(root)
        files: dict[str, Path | bytes] = {}
        for name, digest in manifest.files.items():
            file = _safe_path(root, name)
            if sha256_of(file) != digest:
                raise BundleError(
                    f"{file}: its content is not what {MANIFEST} recorded.",
                    "The bundle was damaged or edited; take a fresh copy or run the step again.",
                )
            files[name] = file
        return cls(MappingProxyType(files), manifest.subject, manifest.parent, manifest.id, root)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            BundleError: the bundle has no such file.
        """
        source = self.files.get(name)
        if source is None:
            raise BundleError(
                f"{self.home or 'this bundle'} has no {name}.", "A step that provides it must come first."
            )
        return source if isinstance(source, bytes) else source.read_bytes()

    def read_json(self, name: str) -> Any:
        """One JSON file of the bundle, parsed.

        Raises:
            BundleError: absent, or not JSON.
        """
        return _json(self.read(name), name)

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """The classes in the order of the network's outputs."""
        entries = self.read_json("labels.json")
        if not isinstance(entries, list) or not entries:
            raise BundleError("labels.json must be a list of at least one label.")
        return tuple(parse(Label, entry, "labels.json") for entry in entries)

    @cached_property
    def preprocess(self) -> Preprocess:
        """The contract that turns a photo into the network's input."""
        return parse(Preprocess, self.read_json("preprocess.json"), "preprocess.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json, one mapping a split, or an empty mapping where nothing was measured yet.

        Raises:
            BundleError: it holds something else.
        """
        found = self.read_json("metrics.json") if "metrics.json" in self else {}
        if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
            raise BundleError("metrics.json must hold one object for each split.", "Run the step 'evaluate' again.")
        for split, entry in found.items():
            if not isinstance(reads := entry.get("reads", 0), int):
                raise BundleError(f"metrics.json: {split}.reads is {reads!r}; it must be a whole number.")
        return found

    @property
    def history(self) -> tuple[StepReport, ...]:
        """One report a step, from the first on.

        Raises:
            BundleError: a line is not a report.
        """
        if "history.jsonl" not in self:
            return ()
        # Split as bytes: as text, a line separator within a class name would end a line too.
        lines = enumerate(self.read("history.jsonl").splitlines(), start=1)
        named = [(f"history.jsonl, line {number}", line) for number, line in lines if line.strip()]
        return tuple(parse(StepReport, _json(line, where), where) for where, line in named)

    @property
    def exports(self) -> tuple[str, ...]:
        """Names of the artefacts, sorted: `int8` for exports/int8/model.tflite.

        A folder there without a model.tflite is an artefact packed for someone else's tools, and none of its own.
        """
        paths = (PurePosixPath(name).parts for name in self.files if name.startswith("exports/"))
        return tuple(sorted({path[1] for path in paths if path[2:] == ("model.tflite",)}))

    @property
    def packed(self) -> frozenset[str]:
        """Files under exports/ that belong to no artefact: what was made of one for someone else's tools."""
        own = tuple(f"exports/{name}/" for name in self.exports)
        return frozenset(name for name in self.files if name.startswith("exports/") and not name.startswith(own))

    def provides(self) -> set[str]:
        """What a later step can build on, in the words of `@step(needs=...)`."""
        named = {
            "audit": "issues.parquet",
            "decisions": "decisions.csv",
            "splits": "splits.parquet",
            "network": NETWORK,
            "labels": "labels.json",
            "preprocess": "preprocess.json",
        }
        return {what for what, name in named.items() if name in self} | {f"export:{name}" for name in self.exports}

    # ---- deriving ------------------------------------------------------------------------------------------------

    def with_files(self, files: Mapping[str, Path | bytes], *, subject: str | None = None) -> Self:
        """A new bundle in which these files stand (added or replaced)."""
        merged = dict(self.files) | dict(files)
        for name in files:
            _check_name(name)
        return type(self)(MappingProxyType(merged), subject or self.subject, self.id or self.parent)

    def with_json(self, name: str, value: Any) -> Self:
        """A new bundle in which `name` holds `value` as JSON."""
        return self.with_files({name: (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()})

    def with_network(self, network: Path | bytes) -> Self:
        """A new bundle with this network; artefacts and verdicts of the former one no longer hold and are left out."""
        kept = {
            name: source
            for name, source in self.files.items()
            if not name.startswith(("exports/", "predictions/"))
            and name not in ("verify.json", "metrics.json", "robustness.json", QUANTIZATION)
        }
        kept[NETWORK] = network
        return type(self)(MappingProxyType(kept), "network", self.id or self.parent)

    def with_labels(self, labels: tuple[Label, ...]) -> Self:
        """A new bundle with these classes, in this order."""
        return self.with_json("labels.json", [label.model_dump(exclude_none=True) for label in labels])

    def with_report(self, report: StepReport) -> Self:
        """A new bundle whose history ends with this report."""
        before = self.read("history.jsonl") if "history.jsonl" in self else b""
        return self.with_files({"history.jsonl": before + report.model_dump_json(exclude_none=True).encode() + b"\n"})

    # ---- writing -------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> Self:
        """Writes the bundle to a new folder, completely or not at all, and returns it as read from there.

        Raises:
            RequestError: the folder exists and is not empty.
            StorageError: not writable, or the disk is full; nothing is left behind.
        """
        from featherlite import __version__

        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RequestError(f"{target} exists already.", "Give a new folder: a bundle is never changed in place.")
        with storage_guard(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.parent / f".{target.name}.{uuid4().hex[:8]}.tmp"
            try:
                digests = {name: _write(source, draft / name) for name, source in sorted(self.files.items())}
                manifest = Manifest(
                    format_version=FORMAT_VERSION,
                    id="",
                    parent=self.parent,
                    featherlite=__version__,
                    subject=self.subject,
                    files=digests,
                )
                manifest = manifest.model_copy(update={"id": manifest.expected_id()})
                _write(manifest.model_dump_json(indent=1).encode() + b"\n", draft / MANIFEST)
                if target.exists():
                    target.rmdir()
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        files = {name: target / name for name in digests}
        return type(self)(MappingProxyType(dict(files)), self.subject, self.parent, manifest.id, target)

    # ---- facts of this machine -----------------------------------------------------------------------------------

    def local(self) -> dict[str, Any]:
        """Facts of this machine beside the bundle (where its photos lie); empty where there are none."""
        if self.home is None:
            return {}
        try:
            facts = _json((self.home / LOCAL).read_bytes(), LOCAL)
        except (OSError, BundleError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def remember(self, **facts: Any) -> None:
        """Adds to the facts of this machine; says nothing where the folder cannot be written, since none are needed."""
        if self.home is not None:
            with contextlib.suppress(OSError):
                write_atomically(self.home / LOCAL, json.dumps(self.local() | facts, indent=1).encode())


def parse(model: type[Parsed], value: Any, where: str) -> Parsed:
    """A value out of a JSON document as the type that it should be.

    Raises:
        BundleError: it is not; `where` and the first wrong field are named.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = ".".join(str(part) for part in first["loc"]) or "document"
        wrong = "Input should be an object" if first["type"] == "model_type" else first["msg"]
        raise BundleError(f"{where}: {field_name}: {wrong}.", "Run the step that writes it again.") from None


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing: under a temporary name in the same folder, flushed to the disk, then renamed."""
    draft = path.parent / f".{path.name}.{uuid4().hex[:8]}.tmp"
    try:
        _write(content, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_guard(target: Path, *own: Path) -> Iterator[None]:
    """Turns what a disk can refuse into a StorageError that names the place and the remedy.

    The place is the target for all that lies in it, in `own`, which are other folders that are written to, or that the
    system does not name; else it is the file that was refused: one that is only read, for example.
    """
    remedies = {
        errno.ENOSPC: (
            "the disk is full",
            "Free some space and run the same command again: it goes on where it stopped.",
        ),
        errno.EDQUOT: ("the disk quota is used up", "Free some space and run the same command again."),
        errno.EFBIG: ("a file would grow over the size allowed here", "Raise the limit (ulimit -f) and run it again."),
        errno.EACCES: ("permission denied", "Choose a folder that you may write to."),
        errno.EPERM: ("permission denied", "Choose a folder that you may write to."),
        errno.EROFS: ("the file system is read-only", "Choose a folder that you may write to."),
        errno.ENOTDIR: ("a parent of it is a file", "Choose another folder."),
        errno.EEXIST: ("a file of that name is in the way", "Choose another folder."),
        errno.EISDIR: ("a folder of that name is in the way", "Choose another name."),
        errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter name."),
        errno.EIO: ("the disk reported a fault", "Check the disk, or choose a folder on another one."),
    }
    try:
        yield
    except OSError as error:
        if error.errno not in remedies:
            raise
        why, hint = remedies[error.errno]
        other = _elsewhere(error, (target, *own))
        if other is None:
            raise StorageError(f"Cannot write {target}: {why}.", hint) from error
        if error.errno in WRITING:
            raise StorageError(f"Cannot write {other}: {why}.", hint) from error
        raise StorageError(f"Cannot open {other}: {why}.", "Mend that, or name another one.") from error


def _elsewhere(error: OSError, places: Sequence[Path]) -> Path | None:
    """The file that the system refused, where it is known and lies outside of all these places."""
    names = (error.filename, error.filename2)
    files = [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes | os.PathLike)]
    # A mere name that does not lie here was looked up in an open folder: where that is, the system does not say.
    if not files or (len(files[0].parts) == 1 and not os.path.lexists(files[0])):
        return None
    return None if any(_lies_in(file, place) for file in files for place in places) else files[0]


def _lies_in(file: Path, place: Path) -> bool:
    """Whether the file is (part of) the place, of what becomes it once it is whole, or of the way to it."""
    real, wanted = Path(os.path.realpath(file)), Path(os.path.realpath(place))
    if real.is_relative_to(wanted) or wanted.is_relative_to(real):
        return True
    beside = real.relative_to(wanted.parent).parts if real.is_relative_to(wanted.parent) else ("",)
    return beside[0].startswith(f".{wanted.name}.")


def _write(source: Path | bytes, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        with target.open("wb") as stream:
            stream.write(source)
            stream.flush()
            os.fsync(stream.fileno())
        return hashlib.sha256(source).hexdigest()
    shutil.copyfile(source, target)
    return sha256_of(target)


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST
    if not path.is_file():
        raise BundleError(f"{root} is not a bundle: it has no {MANIFEST}.", "Give the folder that a step or run wrote.")
    document = _json(path.read_bytes(), str(path))
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {version!r} is unknown; this featherlite reads version {FORMAT_VERSION}.",
            "Update featherlite, or write the bundle again.",
        )
    manifest = parse(Manifest, document, str(path))
    if manifest.id != manifest.expected_id():
        raise BundleError(f"{path} was changed after it was written: its id does not match.")
    return manifest


def _json(text: bytes, where: str) -> Any:
    """What a JSON text holds; whatever is wrong with it is a BundleError, since anyone may have written it."""
    try:
        return json.loads(text.decode("utf-8"))
    except ValueError as error:  # not UTF-8, not JSON, or a number with thousands of digits
        raise BundleError(f"{where} is not JSON: {error}.") from None
    except RecursionError:
        raise BundleError(f"{where} is not JSON that can be read: it is nested too deeply.") from None


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    bad = not parts or name.startswith("/") or "\\" in name or ":" in name or "\0" in name or ".." in parts
    if bad or str(PurePosixPath(name)) != name or name in (MANIFEST, LOCAL):
        raise BundleError(f"File name {name!r} is not allowed in a bundle: it must stay inside the folder.")


def _safe_path(root: Path, name: str) -> Path:
    _check_name(name)
    path = root
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise BundleError(f"{path} is a link; a bundle holds plain files only.")
    if not path.is_file():
        raise BundleError(f"{path} is missing.", "Take a fresh copy of the bundle.")
    return path
