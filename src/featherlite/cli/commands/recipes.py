"""lists the shipped recipes and studies"""

from __future__ import annotations

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows the shipped recipes, and the studies of many networks; returns the exit code."""
    from rich.table import Table

    from featherlite.recipe import load_recipe, shipped_recipes, shipped_studies
    from featherlite.study.plan import load_study

    parser("featherlite recipes", "List the shipped recipes and studies.").parse_args(argv)
    table = Table("recipe", "what comes out", "steps", box=None, header_style="bold", pad_edge=False)
    loaded = [load_recipe(name) for name in sorted(shipped_recipes())]
    for recipe in loaded:
        table.add_row(recipe.name, recipe.title, " > ".join(plan.id for plan in recipe.steps))
    terminal.show(table)
    compared = [load_study(name) for name in sorted(shipped_studies())]
    if compared:
        listed = Table(
            "study (featherlite compare)", "what it compares", "rows", box=None, header_style="bold", pad_edge=False
        )
        for study in compared:
            listed.add_row(study.name, study.title, ", ".join(entry.name for entry in study.entries))
        terminal.show("", listed)
    terminal.finish(
        {
            "recipes": [{**recipe.to_json(), "description": recipe.description} for recipe in loaded],
            "studies": [study.to_json() for study in compared],
        }
    )
    return 0
