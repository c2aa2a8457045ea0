"""walks the whole road on sample photos that featherlite draws itself"""

from __future__ import annotations

from pathlib import Path

from featherlite.cli.arguments import parser
from featherlite.cli.road import walk
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Draws the photos where they are not there yet, then runs the demo recipe; returns the exit code."""
    from featherlite.data.sample import SampleConfig, draw_samples
    from featherlite.recipe import load_recipe

    made = parser("featherlite demo", "Walk the whole road on sample photos that featherlite draws itself.")
    made.add_argument("out", metavar="OUT", nargs="?", default="demo", help="folder for everything (default: demo)")
    out = Path(made.parse_args(argv).out)
    photos = out / "photos"
    if not photos.is_dir():
        terminal.show("Drawing sample birds ...")
        draw_samples(photos, SampleConfig(photos=120), processes=2)
    document = walk(load_recipe("demo"), photos, out, terminal)
    terminal.show(
        "These photos are drawings: the scores say that the road works, and nothing about real birds.",
        f"Next, on photos of your own: featherlite run mcu --data YOUR_PHOTOS --out {out}-mine",
    )
    terminal.finish(document)
    return 0
