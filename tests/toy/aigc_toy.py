"""A fourth backend for the tests: two networks with two optimisers that alternate, learning one number's distribution."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aigc_cli.backends.base import Backend, EvalOptions, Evaluation, Sample, SampleOptions
from aigc_cli.engine.meanings import Meaning, Meanings
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.engine.trainable import Example
from aigc_cli.options import option


@dataclass(frozen=True)
class Train(TrainOptions):
    hidden: int | None = option(None, min=1, auto="16")
    """The width of the two networks."""
    poison: int | None = option(None, min=0)
    """From this step on the critic's loss is not finite (0: never)."""


@dataclass(frozen=True, kw_only=True)
class ToyPlan(Plan, Train):
    hidden: int


BACKEND = Backend(
    name="toy",
    summary="A toy.",
    demo="demo:numbers",
    options={"train": Train, "sample": SampleOptions, "eval": EvalOptions},
    implementation="aigc_toy:Toy",
    kinds=("numbers",),
    meanings=Meanings(
        {
            "distance": Meaning("Quantile distance", "How far draws are from held-out numbers.", "units"),
            "mean": Meaning("Mean of the draws", "Where the draws are centred."),
        },
        {"data_mean": "the mean of the data"},
    ),
)


class Toy:
    name = "toy"

    def prepare(self, options, bus):
        from aigc_numbers import prepare_numbers

        from aigc_cli.backends.prepare import prepared

        data = prepare_numbers(options.data, options.val)
        return prepared(options, data, lambda: [Example("first", str(data.train[0]))], {})

    def changed(self, info):
        from aigc_numbers import check_unchanged

        return check_unchanged(info)

    def plan(self, options, data, machine):
        return ToyPlan.of(options, hidden=16, batch_size=32, lr=0.01), []

    def read_plan(self, record):
        return ToyPlan.read(record)

    def learner(self, plan, data, device):
        import torch
        from torch import nn
        from torch.nn import functional as F

        from aigc_cli.engine.learner import Learner, Loss, Phase, Preview

        numbers, held_out = (torch.from_numpy(rows[:, 0].copy()) for rows in (data.arrays.train, data.arrays.select))

        def network(inputs):
            return nn.Sequential(nn.Linear(inputs, plan.hidden), nn.Tanh(), nn.Dropout(0.1), nn.Linear(plan.hidden, 1))

        class ToyLearner(Learner):
            objective, unit, eval_items, ema = "distance", "numbers", 64, {"generator": 20.0}

            def __init__(self):
                self.networks = {"generator": network(2).to(device), "critic": network(1).to(device)}
                self.optimizers = {
                    "generator": torch.optim.Adam(self.networks["generator"].parameters(), plan.lr),
                    "critic": torch.optim.RMSprop(self.networks["critic"].parameters(), plan.lr),
                }

            def batch(self, step):
                draw = torch.Generator().manual_seed(plan.seed * 10_000 + step)
                picks = torch.randint(len(numbers), (plan.batch_size,), generator=draw)
                return {"real": numbers[picks, None], "poisoned": torch.full((plan.batch_size,), step)}

            def phases(self, step, plan):
                return [
                    Phase("critic", self.critic_loss, max_grad_norm=1.0),
                    Phase("generator", self.generator_loss),
                ]

            def _margins(self, batch):
                fake = self.networks["generator"](torch.randn(len(batch["real"]), 2, device=device))
                return self.networks["critic"](batch["real"]) - self.networks["critic"](fake)

            def critic_loss(self, batch):
                loss = F.softplus(-self._margins(batch)).mean()
                if plan.poison and int(batch["poisoned"][0]) >= plan.poison:
                    loss = loss * float("nan")
                return Loss(loss)

            def generator_loss(self, batch):
                return Loss(F.softplus(self._margins(batch)).mean(), {"margin": self._margins(batch).mean().detach()})

            def evaluate(self, items):
                drawn = self.networks["generator"](torch.randn(items, 2, device=device)).sort(0).values[:, 0].cpu()
                real = held_out.sort().values[torch.linspace(0, len(held_out) - 1, items).long()]
                return {"distance": float((drawn - real).abs().mean())}

            def preview(self):
                text = f"{float(self.networks['generator'](torch.zeros(1, 2, device=device))):.3f}"
                return Preview(".txt", text.encode(), text)

            def save_model(self, folder):
                from safetensors.torch import save_file

                (folder / "config.json").write_text(json.dumps({"hidden": plan.hidden}))
                save_file(self.networks["generator"].state_dict(), folder / "model.safetensors")

        return ToyLearner()

    def _draw(self, run, seed, n):
        import torch
        from safetensors.torch import load_file
        from torch import nn

        hidden = json.loads((run.model / "config.json").read_text())["hidden"]
        network = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Dropout(0.1), nn.Linear(hidden, 1)).eval()
        network.load_state_dict(load_file(run.model / "model.safetensors"))
        with torch.no_grad():
            return network(torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)))[:, 0].tolist()

    def sample(self, run, options, bus, piece):
        for number in self._draw(run, options.seed or 0, options.n):
            yield Sample({"number": number}, [number])

    def evaluate(self, run, options, bus):
        numbers = self._draw(run, options.seed, 256)
        mean = sum(numbers) / len(numbers)
        return Evaluation("drawn", {"mean": {"value": mean, "low": None, "high": None, "n": len(numbers), "data_mean": 2.0}})
