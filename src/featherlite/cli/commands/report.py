"""writes what a run did as one page to open in a browser"""

from __future__ import annotations

from pathlib import Path

from featherlite.cli.arguments import parser
from featherlite.cli.road import write_pages
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Writes report.html; returns the exit code."""
    from featherlite.bundle import Bundle
    from featherlite.keys import cache_folder
    from featherlite.run import resolve

    made = parser("featherlite report", "Write what a run did as one self-contained page, and its audit's beside it.")
    made.add_argument("out", metavar="OUT", help="a run's folder or a bundle")
    made.add_argument("--data", metavar="PATH", help="the photos, as for featherlite run; remembered on this machine")
    made.add_argument("--page", metavar="PATH", help="where to write it (default: report.html beside the bundle)")
    values = made.parse_args(argv)
    bundle = Bundle.open(values.out)
    assert bundle.home is not None
    root = values.data or bundle.local().get("data")
    named = Path(root) if isinstance(root, str) else None
    photos = resolve(named, cache_folder(), terminal.progress()) if named is not None else None
    page = Path(values.page) if values.page else bundle.home.parent / "report.html"
    write_pages(bundle, photos, page, named=named, progress=terminal.progress())
    terminal.close()
    terminal.show(f"Written to {page}.")
    terminal.finish({"report": str(page)})
    return 0
