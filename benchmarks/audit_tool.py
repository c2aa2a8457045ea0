"""What one tool finds in one folder, as JSON, in a process of its own.

    python benchmarks/audit_tool.py featherlite|cleanvision FOLDER OUT [WEIGHTS]

Each tool runs in the Python that has it. The seconds cover listing, reading and judging, not the imports.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

PEER_WORKERS = 2


def featherlite(folder: Path, weights: str) -> dict[str, Any]:
    """Findings of the audit with an empty cache; without weights only by the checks that need no features."""
    from featherlite.data.audit import AuditConfig, find_issues
    from featherlite.data.source import scan

    with tempfile.TemporaryDirectory() as cache:
        embed = _embedding(weights, Path(cache)) if weights else None
        started = time.perf_counter()
        found = find_issues(scan(folder, None, Path(cache)), AuditConfig(), embed)
        seconds = time.perf_counter() - started
    findings = [{"check": issue.check, "paths": list(issue.paths), "score": issue.score} for issue in found.issues]
    return {"seconds": seconds, "findings": findings}


def _embedding(weights: str, cache: Path) -> Any:
    from featherlite.data.features import feature_kind, photo_features
    from featherlite.step import Silent

    def embed(scanned: Any) -> Any:
        photos = [(photo.path, photo.sha256) for photo in scanned.photos]
        return photo_features(photos, scanned.root, feature_kind(weights), cache, Silent())

    return embed


def cleanvision(folder: Path, weights: str) -> dict[str, Any]:
    """Findings of cleanvision at its defaults: one a flagged photo, and one a set of duplicates."""
    from cleanvision import Imagelab

    if weights:
        raise SystemExit("cleanvision has no checks that use features")
    started = time.perf_counter()
    lab = Imagelab(data_path=str(folder))
    lab.find_issues(n_jobs=PEER_WORKERS, verbose=False)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "findings": list(_of_lab(lab, folder.resolve()))}


def _of_lab(lab: Any, folder: Path) -> Iterator[dict[str, Any]]:
    def name(path: str) -> str:
        return Path(path).resolve().relative_to(folder).as_posix()

    sets = ("exact_duplicates", "near_duplicates")
    for check in sets:
        for paths in lab.info.get(check, {}).get("sets", []):
            yield {"check": check, "paths": [name(path) for path in paths], "score": 1.0}
    for column in lab.issues.columns:
        check = column.removeprefix("is_").removesuffix("_issue")
        if column == f"is_{check}_issue" and check not in sets:
            flagged = lab.issues[lab.issues[column]]
            for path, score in zip(flagged.index, flagged[f"{check}_score"], strict=True):
                yield {"check": check, "paths": [name(path)], "score": 1.0 - float(score)}


def main(tool: str, folder: str, out: str, weights: str = "") -> None:
    """Runs the tool and writes what it found, with its seconds and the most memory a process of it held."""
    began = time.perf_counter()
    told = {"featherlite": featherlite, "cleanvision": cleanvision}[tool](Path(folder), weights)
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    told["peak_mib"] = max(resource.getrusage(each).ru_maxrss for each in who) / 1024
    told["cpu_seconds"] = sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))
    told["with_imports_seconds"] = time.perf_counter() - began
    told["version"] = version(tool)
    Path(out).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
