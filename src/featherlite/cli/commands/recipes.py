"""lists the shipped recipes and studies, or prints one of them"""

from __future__ import annotations

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows the shipped recipes and the studies of many networks, or the text of one; returns the exit code."""
    made = parser("featherlite recipes", "List the shipped recipes and studies, or print one, to begin your own with.")
    made.add_argument("name", metavar="NAME", nargs="?", help="a recipe or study, whose TOML is printed")
    name = made.parse_args(argv).name
    return _list(terminal) if name is None else _print(name, terminal)


def _list(terminal: Terminal) -> int:
    from rich.table import Table

    from featherlite.recipe import load_recipe, shipped_recipes, shipped_studies
    from featherlite.study.plan import load_study

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


def _print(name: str, terminal: Terminal) -> int:
    from featherlite.errors import RequestError, did_you_mean
    from featherlite.recipe import shipped_recipes, shipped_studies

    shipped = {**shipped_recipes(), **shipped_studies()}
    if name not in shipped:
        raise RequestError(f"There is no shipped recipe or study '{name}'.", did_you_mean(name, shipped))
    text = shipped[name].read_text("utf-8")
    terminal.show(text.rstrip("\n"))
    terminal.finish({"name": name, "toml": text})
    return 0
