"""The live view of training: what is happening, the curve, the time left and the latest sample, within 80 × 24."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aigc_cli.engine.events import Evaluated, Event, Finished, Note, Previewed, Stage, Started, Trained
from aigc_cli.ui.text import duration, printable, sparkline

SAMPLE_LINES = 8


class LiveView:
    """Redraws a few lines in place and leaves the last state behind when training ends."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self.live: Live | None = None
        self.stage: Stage | None = None
        self.started: Started | None = None
        self.trained: Trained | None = None
        self.evaluated: Evaluated | None = None
        self.losses: list[float] = []
        self.sample = ""

    def __call__(self, event: Event) -> None:
        match event:
            case Note():
                style = "yellow" if event.level == "warning" else "dim"
                self.console.print(Text(printable(event.text), style=style))
            case Stage():
                self.stage = event
            case Started():
                self.started, self.stage = event, None
            case Trained():
                self.trained = event
                self.losses.append(next(iter(event.losses.values()), 0.0))
            case Evaluated():
                self.evaluated = event
            case Previewed() if event.text:
                self.sample = event.text
            case Finished():
                self.close()
                self.console.print(Text(f"{event.status} after {event.steps} steps, {duration(event.seconds)}: {event.run}"))
                return
        if not isinstance(event, Note):
            self._show()

    def _show(self) -> None:
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self.live.start()
        self.live.update(self._render(), refresh=True)

    def close(self) -> None:
        """Leave the last state on the screen and give the cursor back."""
        if self.live is not None:
            self.live.update(self._render(), refresh=True)
            self.live.stop()
            self.live = None

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.stage is not None:
            parts.append(self._bar(self.stage.name, self.stage.done, self.stage.total or 0))
        if self.started is not None:
            parts.append(
                Text(
                    f"{self.started.run}: {self.started.model}",
                    style="bold",
                    overflow="ellipsis",
                    no_wrap=True,
                )
            )
        if self.trained is not None:
            t = self.trained
            left = f"step {t.step:,}/{t.steps:,}   {t.rate:,.0f} {t.unit}/s   {duration(t.seconds_left)} left"
            parts += [self._bar(left, t.step, t.steps), self._numbers(t)]
        if self.sample:
            lines = printable(self.sample.strip()).splitlines()[:SAMPLE_LINES]
            parts.append(Text("\n".join(["", *lines]), style="cyan", overflow="ellipsis", no_wrap=True))
        return Group(*parts)

    def _bar(self, label: str, done: int, total: int) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=total or None, completed=done, width=24, pulse=not total)
        table.add_row(bar, Text(label, no_wrap=True))
        return table

    def _numbers(self, event: Trained) -> RenderableType:
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in event.losses.items())
        if self.evaluated is not None:
            numbers += "   held-out " + "  ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in self.evaluated.measures.items())
        return Group(Text(numbers, no_wrap=True, overflow="ellipsis"), Text(sparkline(self.losses, 60), style="green"))
