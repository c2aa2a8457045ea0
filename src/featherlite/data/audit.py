"""Looks every photo over for faults that cost accuracy or falsely claim it, each with a score and a suggestion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from featherlite.bundle import Bundle
from featherlite.data.audit_tables import ISSUES, SUMMARY, TWINS, issues_table, twins_table
from featherlite.data.checks import check_names, load_check
from featherlite.data.discriminant import Rows
from featherlite.data.evidence import Embed, Evidence
from featherlite.data.features import best_features, feature_kind, is_weak, photo_features
from featherlite.data.findings import Issue
from featherlite.data.near import Twins
from featherlite.data.source import Scan, scan
from featherlite.errors import did_you_mean
from featherlite.step import Context, Progress, Silent, StepConfig, step

__all__ = ["Audit", "AuditConfig", "CheckNames", "audit", "embedder", "find_issues", "run_audit"]


def _known_checks(value: Any) -> Any:
    """The names one by one, also where they were given as one text with commas between them."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    names = tuple(part.strip() for item in parts for part in str(item).split(","))
    for name in names:
        if name not in check_names():
            raise ValueError(f"there is no check '{name}'. {did_you_mean(name, check_names())}")
    return names


CheckNames = Annotated[tuple[str, ...], BeforeValidator(_known_checks)]
"""Names of checks, each of them known; as text they are separated by commas."""


class AuditConfig(StepConfig):
    """Which checks look, and by what the pictures' contents are judged."""

    checks: CheckNames = ()
    """checks to make; none named means all (featherlite audit --list)"""
    skip: CheckNames = ()
    """checks to leave out"""
    weights: str = "auto"
    """what wrong labels and off-topic photos are judged by: 'imagenet', a weights file of MobileNetV2 (best those of a
    kindred set), 'none' for hand-made features, or 'auto': ImageNet weights where they can be had, else hand-made"""

    def files(self) -> tuple[Path, ...]:
        """The weights file, whose content counts."""
        return () if self.weights in ("auto", "imagenet", "none") else (Path(self.weights),)

    def chosen(self) -> tuple[str, ...]:
        """The names of the checks to make, sorted."""
        return tuple(
            name for name in check_names() if name not in self.skip and (not self.checks or name in self.checks)
        )


@dataclass(frozen=True)
class Audit:
    """What an audit found: the photos as they were then, the issues (worst first within a check), and the twins."""

    scan: Scan
    issues: tuple[Issue, ...]
    checks: tuple[str, ...]
    twins: Twins | None
    features: str | None = None
    """by which features pictures' contents were judged"""
    unmade: tuple[str, ...] = ()
    """checks that could not be made, for want of features"""

    def counts(self) -> dict[str, int]:
        """Check -> number of its issues, for every check that was made."""
        found = Counter(issue.check for issue in self.issues)
        return {name: found[name] for name in self.checks}

    def blocking(self) -> tuple[Issue, ...]:
        """The issues that stop a run."""
        return tuple(issue for issue in self.issues if load_check(issue.check).blocks)


def find_issues(
    found: Scan,
    config: AuditConfig | None = None,
    embed: Embed | None = None,
    progress: Progress | None = None,
) -> Audit:
    """All issues of the scanned photos by the chosen checks."""
    config = config or AuditConfig()
    evidence = Evidence(found, embed, progress or Silent())
    issues: list[Issue] = []
    chosen = config.chosen()
    for name in chosen:
        its = sorted(load_check(name).judge(evidence), key=lambda issue: (-issue.score, issue.paths, issue.message))
        issues += its
    twins = evidence.alike if "alike" in vars(evidence) else None
    features = vars(evidence).get("features") if found.photos else None
    kind = getattr(features, "kind", None)
    unmade = tuple(
        name
        for name in chosen
        if (load_check(name).needs_features and features is None)
        or (load_check(name).needs_trained and is_weak(features))
    )
    made = tuple(name for name in chosen if name not in unmade)
    return Audit(found, tuple(issues), made, twins, kind.name if kind else None, unmade)


def run_audit(
    root: Path, config: AuditConfig | None = None, cache: Path | None = None, progress: Progress | None = None
) -> Audit:
    """The audit of the photos under `root`; looks, features and verdicts are remembered under `cache`.

    Without a cache pictures' contents are not judged. Photos that no classifier can be made of are audited too.

    Raises:
        DataError: there is no such root, or it is in no known layout.
        RequestError: the weights that the config names cannot be had.
    """
    config = config or AuditConfig()
    found = scan(root, progress, cache, strict=False)
    embed = embedder(config.weights, cache, progress or Silent()) if cache is not None else None
    return find_issues(found, config, embed, progress)


def embedder(weights: str, cache: Path, progress: Progress) -> Embed:
    """What makes the features of a scan's photos by these weights (see AuditConfig), remembered under `cache`."""

    def embed(found: Scan) -> Rows:
        photos = [(photo.path, photo.sha256) for photo in found.photos]
        if weights == "auto":
            return best_features(photos, found.root, cache, progress)
        return photo_features(photos, found.root, feature_kind(weights), cache, progress)

    return embed


@step(provides=("audit",))
def audit(bundle: Bundle, config: AuditConfig, ctx: Context) -> Bundle:
    """The bundle with issues.parquet, twins.parquet and audit.json.

    Raises:
        DataError: the photos cannot be used at all.
    """
    found = scan(ctx.photos_root(), ctx.progress, ctx.cache, strict=False)
    result = find_issues(found, config, embedder(config.weights, ctx.cache, ctx.progress), ctx.progress)
    ctx.record("features", result.features)
    ctx.record("issues", {name: count for name, count in result.counts().items() if count})
    summary = {
        "photos": len(result.scan.photos),
        "digest": result.scan.digest,
        "checks": result.counts(),
        "blocking": len(result.blocking()),
        "features": result.features,
    }
    files = {ISSUES: issues_table(result.issues)}
    if result.twins is not None:
        files[TWINS] = twins_table(result.twins)
    return bundle.with_files(files).with_json(SUMMARY, summary)
