"""lists known sets of photos, tells about one, fetches one"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlite.cli.arguments import given, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from featherlite.data.hub import HubPlan
    from featherlite.data.known import KnownSet

ACTIONS = ("list", "show", "fetch")


def main(argv: list[str], terminal: Terminal) -> int:
    """Lists, shows or fetches; returns the exit code."""
    made = parser("featherlite data", "List known sets of photos, tell about one, or fetch one.")
    made.add_argument("action", metavar="ACTION", help="list, show or fetch")
    made.add_argument("name", metavar="NAME", nargs="?", type=given, help="a known set, or hub:owner/name[@revision]")
    made.add_argument("--out", metavar="DIR", type=given, help="new folder for the photos (fetch)")
    made.add_argument("--from", metavar="FILE", type=given, dest="given", help="an archive downloaded by hand (fetch)")
    made.add_argument("--dry-run", action="store_true", help="say what would happen, and do nothing (fetch)")
    options = made.parse_args(argv)
    if options.action not in ACTIONS:
        raise RequestError(
            f"featherlite data: there is no action '{options.action}'.", did_you_mean(options.action, ACTIONS)
        )
    if options.action == "list":
        return _list(terminal)
    if options.name is None:
        raise RequestError(f"featherlite data {options.action} needs a name.", "See: featherlite data list")
    if options.action == "show":
        return _show(options.name, terminal)
    if options.out is None:
        raise RequestError("featherlite data fetch needs a folder for the photos.", "Add --out DIR.")
    archive = Path(options.given) if options.given else None
    if options.name.startswith("hub:"):
        return _fetch_hub(options.name, Path(options.out), options.dry_run, terminal)
    return _fetch(options.name, Path(options.out), archive, options.dry_run, terminal)


def _list(terminal: Terminal) -> int:
    from rich.table import Table

    from featherlite.data.known import known_sets

    table = Table("set", "photos", "classes", "licence", "fetched", box=None, header_style="bold", pad_edge=False)
    for known in known_sets().values():
        how = "by command" if known.fetchable else "by hand"
        table.add_row(known.name, _count(known.photos), _count(known.classes), known.licence, how)
    terminal.show(table, "More about one: featherlite data show NAME")
    terminal.finish({"sets": [known.model_dump(mode="json") for known in known_sets().values()]})
    return 0


def _show(name: str, terminal: Terminal) -> int:
    from featherlite.data.known import known_set

    known = known_set(name)
    terminal.show(f"{known.title} ({known.name})", *_told(known))
    terminal.show(*(f"  known fault: {fault}" for fault in known.faults))
    if known.by_hand:
        terminal.show(f"  by hand: {known.by_hand}")
    terminal.finish(known.model_dump(mode="json"))
    return 0


def _told(known: KnownSet) -> list[str]:
    note = f" {known.licence_note}" if known.licence_note else ""
    lines = [
        f"  home: {known.home}",
        f"  licence: {known.licence}.{note}",
        f"  photos: {_count(known.photos)}, classes: {_count(known.classes)}",
        f"  layout: {known.layout}",
    ]
    return [*lines, *(f"  source: {file.url} ({_size(file.bytes)}) {file.digest}".rstrip() for file in known.files)]


def _fetch(name: str, out: Path, archive: Path | None, dry_run: bool, terminal: Terminal) -> int:
    from featherlite.data.known import fetch_known, known_set

    known = known_set(name)
    source = [str(archive)] if archive else [file.url for file in known.files]
    document: dict[str, Any] = {
        "name": known.name,
        "licence": known.licence,
        "source": source,
        "bytes": known.bytes,
        "out": str(out),
        "done": False,
    }
    terminal.show(f"{known.title} ({known.name})", *_told(known), f"  into: {out}")
    if dry_run:
        if not known.fetchable and archive is None:
            terminal.show(f"  by hand: {known.by_hand}")
        terminal.show("Nothing was fetched (--dry-run).")
        terminal.finish(document)
        return 0
    root = fetch_known(known, out, terminal.progress(), archive)
    terminal.close()
    terminal.show(f"Done. Next: featherlite audit {root}")
    terminal.finish({**document, "done": True, "data": str(root)})
    return 0


def _fetch_hub(name: str, out: Path, dry_run: bool, terminal: Terminal) -> int:
    from featherlite.data.hub import fetch_plan, hub_plan, hub_set

    wanted = hub_set(Path(name))
    if wanted is None:
        raise RequestError(f"{name} is a folder here.", "Give it as --data as it is.")
    if out.exists():
        raise RequestError(f"{out} exists already.", "Give another --out, or remove it.")
    plan = hub_plan(wanted)
    terminal.show(*_plan_told(plan, out))
    document: dict[str, Any] = {
        "name": name,
        "commit": plan.commit,
        "licence": plan.licence,
        "files": [file.path for file in plan.files],
        "bytes": plan.size,
        "out": str(out),
        "done": False,
    }
    if dry_run:
        terminal.show("Nothing was fetched (--dry-run).")
        terminal.finish(document)
        return 0
    fetch_plan(plan, out, terminal.progress())
    terminal.close()
    terminal.show(f"Done. Next: featherlite audit {out}")
    terminal.finish({**document, "done": True, "data": str(out)})
    return 0


def _plan_told(plan: HubPlan, out: Path) -> list[str]:
    return [
        f"hub:{plan.wanted.name} at {plan.commit}",
        f"  licence: {plan.licence} (as its card states it)",
        f"  files: {len(plan.files)}, {_size(plan.size)}",
        f"  into: {out}",
    ]


def _count(number: int | None) -> str:
    return f"{number:,}" if number is not None else "not known"


def _size(count: int | None) -> str:
    if count is None:
        return "size not known"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
