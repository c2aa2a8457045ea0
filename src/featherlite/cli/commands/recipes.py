"""lists the shipped recipes"""

from __future__ import annotations

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows the shipped recipes; returns the exit code."""
    from rich.table import Table

    from featherlite.recipe import load_recipe, shipped_recipes

    parser("featherlite recipes", "List the shipped recipes.").parse_args(argv)
    table = Table("recipe", "what comes out", "steps", box=None, header_style="bold", pad_edge=False)
    loaded = [load_recipe(name) for name in sorted(shipped_recipes())]
    for recipe in loaded:
        table.add_row(recipe.name, recipe.title, " > ".join(plan.id for plan in recipe.steps))
    terminal.show(table)
    terminal.finish({"recipes": [{**recipe.to_json(), "description": recipe.description} for recipe in loaded]})
    return 0
