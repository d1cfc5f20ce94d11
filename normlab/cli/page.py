"""How a help page is drawn."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normlab.cli.pages import Page

#: Widest help page: longer lines are hard to read.
_WIDEST = 100


def draw(page: "Page") -> None:
    """Print a help page."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.width = min(console.width, _WIDEST)
    console.print(Text.assemble(("Usage: ", "bold"), page.usage), Text(page.summary), sep="\n\n", end="\n\n")
    for panel in page.panels:
        grid = Table.grid(padding=(0, 2))
        if panel.stacked:
            body: Group | Table = Group(
                *(Text.assemble((meaning, "dim"), "\n  ", (what, "cyan")) for what, meaning in panel.lines)
            )
        else:
            for what, meaning in panel.lines:
                grid.add_row(Text(what, style="cyan", no_wrap=True), Text(meaning))
            body = grid
        console.print(Panel(body, title=panel.title, title_align="left", border_style="dim"))
    console.print(Text(page.closing, style="dim"))
