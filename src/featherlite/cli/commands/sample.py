"""writes sample photos: birds that featherlite draws itself"""

from __future__ import annotations

from pathlib import Path

from featherlite.cli.arguments import add_fields, parse, parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Draws the sample set; returns the exit code."""
    from featherlite.data.sample import SampleConfig, draw_samples

    made = parser("featherlite sample", "Write sample photos: birds that featherlite draws itself.")
    made.add_argument("out", metavar="OUT", help="new folder for the photos")
    add_fields(made, SampleConfig)
    values = vars(made.parse_args(argv))
    config = parse(SampleConfig, {key: values[key] for key in SampleConfig.model_fields}, "featherlite sample")
    bars = terminal.progress()
    drawn = 0

    def show(done: int, total: int) -> None:
        nonlocal drawn
        if drawn == 0:
            bars.start("drawing", total)
        bars.advance(done - drawn)
        drawn = done

    report = draw_samples(Path(values["out"]), config, show, processes=2)
    bars.finish()
    terminal.show(
        f"{report.files} drawings of {len(report.species)} invented species in {report.out}.",
        "They are drawings: what a network scores on them says nothing about real birds.",
    )
    terminal.finish({"out": values["out"], **report.to_json()})
    return 0
