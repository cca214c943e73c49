"""The loop's promises, on a learner small enough to check by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch._dynamo  # or it is imported at the first step, where a test may crash it
from conftest import settled
from safetensors.torch import load_file
from torch import nn

from aigc_cli.engine import loop
from aigc_cli.engine.device import derive_seed
from aigc_cli.engine.ema import EMA
from aigc_cli.engine.events import Bus, Evaluated, Event, Note
from aigc_cli.engine.learner import Batch, Concern, Learner, Loss, Phase, Preview
from aigc_cli.engine.loop import ROLLBACKS_BEFORE_STOP, TrainLoop
from aigc_cli.engine.optim import MuonAdamW, orthogonalise
from aigc_cli.engine.planning import budget
from aigc_cli.engine.planning import plan as planning
from aigc_cli.engine.planning.budget import Costs, plan_for_seconds, plan_for_steps, step_seconds
from aigc_cli.engine.runs.run import Run, create_run
from aigc_cli.engine.schedule import cooldown_start, default_warmup, warmup_stable_decay
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.engine.signals import Interrupts
from aigc_cli.engine.step import read
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import AigcError, Interrupted, RequestError
from aigc_cli.options import recorded

CPU = torch.device("cpu")
OPTIONS = settled(TrainOptions(steps=40, seed=3, log_every=10, eval_every=10))
PLAN = plan_for_steps(Plan.of(OPTIONS, batch_size=8, lr=0.1), OPTIONS, 1)


class Regression(Learner):
    """Least squares y = w·x with weights of zero; what goes wrong is added by the tests."""

    objective, unit, eval_items = "error", "rows", 1

    def __init__(self, lr: float = 0.1) -> None:
        self.model = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.networks = {"model": self.model}
        self.optimizers = {"model": torch.optim.SGD(self.model.parameters(), lr)}
        self.seen: list[torch.Tensor] = []

    def batch(self, step: int) -> Batch:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"x": x, "y": x @ torch.tensor([[1.0], [-2.0], [0.5]])}

    def phases(self, step: int, plan: Plan) -> list[Phase]:
        return [Phase("model", self.loss)]

    def loss(self, batch: Batch) -> Loss:
        self.seen.append(batch["x"])
        return Loss((self.model(batch["x"]) - batch["y"]).square().mean())

    def evaluate(self, items: int) -> dict[str, float]:
        return {"error": float((self.model.weight - torch.tensor([[1.0, -2.0, 0.5]])).norm())}

    def save_model(self, folder: Path) -> None:
        (folder / "config.json").write_text("{}")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path, "test", "run-1", {"plan": {}, "data": {}})


def training(learner: type[Learner], run: Run, plan: Plan = PLAN, *subscribers: object) -> TrainLoop:
    return TrainLoop(Trainer(learner, plan, CPU, Bus(*subscribers)), run)  # type: ignore[arg-type]


def resumed(learner: type[Learner], run: Run, plan: Plan, step: int, *subscribers: object) -> TrainLoop:
    loop = training(learner, run, plan, *subscribers)
    loop.checkpoints.load(loop.trainer, step)
    return loop


def finish(learner: type[Learner], run: Run, plan: Plan = PLAN, *subscribers: object) -> TrainLoop:
    loop = training(learner, run, plan, *subscribers)
    loop.train(Interrupts())
    return loop


def test_a_plan_leaves_nothing_undecided_and_is_read_as_it_was_recorded() -> None:
    with pytest.raises(ValueError, match=r"^Plan leaves batch_size, lr, micro_batch_size undecided$"):
        Plan.of(OPTIONS, batch_size=None)
    assert (PLAN.warmup, PLAN.cooldown, PLAN.micro_batch_size, PLAN.patience, PLAN.val) == (10, 0.5, 8, None, None)
    record = json.loads(json.dumps(recorded(PLAN)))
    assert list(record) == list(recorded(TrainOptions()))
    assert Plan.read(record) == PLAN
    assert Plan.read({**record, "micro_batch_size": None}) == PLAN  # earlier versions left it open
    with pytest.raises(RequestError, match="is incomplete: Plan leaves lr undecided; start a new run"):
        Plan.read({name: value for name, value in record.items() if name != "lr"})
    asked = dataclasses.replace(OPTIONS, lr=0.5, micro_batch_size=2, cooldown=0.0)
    assert Plan.of(asked, batch_size=8, lr=0.1, cooldown=1.0) == Plan.of(
        OPTIONS, batch_size=8, lr=0.5, cooldown=0.0, micro_batch_size=2
    )


def test_a_step_is_the_gradient_step_of_the_batch() -> None:
    trainer = Trainer(Regression, PLAN, CPU, Bus())
    batch = trainer.learner.batch(0)
    trainer.step(batch, 15)  # past the warm-up: the full learning rate
    expected = 0.1 * 2 * (batch["y"] * batch["x"]).mean(0, keepdim=True)
    torch.testing.assert_close(trainer.learner.networks["model"].weight.data, expected)


def test_micro_batches_sum_to_the_same_step() -> None:
    whole, parts = Trainer(Regression, PLAN, CPU, Bus()), Trainer(Regression, PLAN, CPU, Bus())
    parts.state.micro_batches = 3  # of 3, 3 and 2 rows
    for step in range(5):
        whole.step(whole.learner.batch(step), step)
        parts.step(parts.learner.batch(step), step)
    torch.testing.assert_close(whole.learner.networks["model"].weight, parts.learner.networks["model"].weight)


class Steady(Regression):
    """A gradient of one but where the batch is a shock; clipped to twice the usual norm."""

    def phases(self, step: int, plan: Plan) -> list[Phase]:
        return [Phase("model", self.loss, max_grad_ratio=2.0)]

    def batch(self, step: int) -> Batch:
        scale = 1000.0 if step == 9 else float(step < 20) + 5.0 * float(step >= 20)
        return {"x": torch.tensor([[scale, 0.0, 0.0]])}

    def loss(self, batch: Batch) -> Loss:
        return Loss(self.model(batch["x"]).mean())


def test_a_gradient_is_clipped_to_what_is_usual_and_what_is_usual_changes() -> None:
    trainer = Trainer(Steady, dataclasses.replace(PLAN, steps=200, warmup=0, cooldown=0.0), CPU, Bus())
    weights = [0.0]
    for step in range(150):
        trainer.step(trainer.learner.batch(step), step)
        weights.append(trainer.learner.networks["model"].weight[0, 0].item())
    moves = [before - after for before, after in pairwise(weights)]
    assert moves[8] == pytest.approx(0.1) and moves[9] == pytest.approx(0.2, rel=1e-3)
    assert moves[20] == pytest.approx(0.2, rel=1e-3) and moves[149] == pytest.approx(0.5, rel=1e-3)


class Hungry(Regression):
    """Has memory for two rows at once."""

    def loss(self, batch: Batch) -> Loss:
        if len(batch["x"]) > 2:
            raise torch.OutOfMemoryError("no memory left")
        return super().loss(batch)


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    notes: list[Event] = []
    hungry, reference = Trainer(Hungry, PLAN, CPU, Bus(notes.append)), Trainer(Regression, PLAN, CPU, Bus())
    for step in range(3):
        hungry.step(hungry.learner.batch(step), step)
        reference.step(reference.learner.batch(step), step)
    assert hungry.state.micro_batches == 4
    assert [note.text for note in notes if isinstance(note, Note)][
        -1
    ] == "out of memory: splitting each batch into 4 micro-batches"
    torch.testing.assert_close(hungry.learner.networks["model"].weight, reference.learner.networks["model"].weight)


class Faulty(Regression):
    """Not finite at steps 13 and 14, whatever one does: too few in a row to go back for."""

    def loss(self, batch: Batch) -> Loss:
        loss = super().loss(batch)
        bad = any(torch.equal(batch["x"], self.batch(step)["x"]) for step in (13, 14))
        return Loss(loss.mean * (float("nan") if bad else 1.0))


def test_a_step_that_is_not_finite_is_skipped(run: Run) -> None:
    loop = finish(Faulty, run)
    assert (loop.state.step, loop.state.skipped, loop.state.rollbacks) == (40, 2, 0)
    assert loop.state.best is not None and loop.state.best < 0.1


class Fused(Steady):
    """The same with optimisers that skip non-finite gradients on the device."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(3, 3, bias=False)
        self.networks["body"] = self.body
        self.optimizers = {
            "model": torch.optim.AdamW(self.model.parameters(), 0.1, fused=True),
            "body": MuonAdamW(
                [self.body.weight], [{"params": [self.model.weight], "lr": 0.01}], muon_lr=0.1, muon_weight_decay=0.1
            ),
        }

    def phases(self, step: int, plan: Plan) -> list[Phase]:
        scale = float("nan") if step in (0, 5, 9) else 1.0
        return [Phase(name, partial(self.scaled, scale=scale), max_grad_ratio=2.0) for name in self.optimizers]

    def scaled(self, batch: Batch, *, scale: float) -> Loss:
        return Loss(self.model(self.body(batch["x"])).square().mean() * scale + self.model.weight.sum())


def test_what_is_not_finite_is_left_out_on_a_device_as_on_a_cpu() -> None:
    here, there = Trainer(Fused, PLAN, CPU, Bus()), Trainer(Fused, PLAN, CPU, Bus())
    there.train_step.skips_on_device = True
    for step in range(20):
        before = [p.detach().clone() for network in there.learner.networks.values() for p in network.parameters()]
        reports = read([trainer.step(trainer.learner.batch(step), step) for trainer in (here, there)])
        assert [bool(report) for report in reports] == [step not in (0, 5, 9)] * 2
        if step in (0, 5, 9):
            after = (p for network in there.learner.networks.values() for p in network.parameters())
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for name, norms in here.train_step.norms.items():
        assert norms == pytest.approx(there.train_step.norms[name], rel=1e-5) and len(norms) == 17
    for name, network in here.learner.networks.items():
        torch.testing.assert_close(network.state_dict(), there.learner.networks[name].state_dict())
    assert all(float(state["step"]) == 17 for state in there.learner.optimizers["model"].state.values())


class Explosive(Regression):
    """Not finite from the step 25 on, unless the learning rate was halved twice."""

    def loss(self, batch: Batch) -> Loss:
        loss = super().loss(batch)
        late = any(torch.equal(batch["x"], self.batch(step)["x"]) for step in range(25, 40))
        fast = self.optimizers["model"].param_groups[0]["lr"] > 0.025 * 1.001
        return Loss(loss.mean * (float("inf") if late and fast else 1.0))


def test_it_goes_back_to_the_last_good_checkpoint_at_half_the_learning_rate(run: Run) -> None:
    plan = dataclasses.replace(PLAN, cooldown=0.0, checkpoint_seconds=1e-9)  # resume points at every step
    loop = finish(Explosive, run, plan)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    back = [(line["to"], line["lr_scale"]) for line in lines if line["event"] == "rolled_back"]
    assert back == [(20, 0.5), (20, 0.25)]
    assert loop.state.step == 40


def test_too_many_skips_are_found_out_late_and_undone_as_if_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether values are read at every step or when they are reported, what comes of it is the same."""

    class Twice(Regression):
        def loss(self, batch: Batch) -> Loss:
            """Not finite at the steps 21 to 23 alone, at the full learning rate."""
            loss = super().loss(batch)
            bad = any(torch.equal(batch["x"], self.batch(step)["x"]) for step in (21, 22, 23))
            fast = self.optimizers["model"].param_groups[0]["lr"] > 0.05 * 1.001
            return Loss(loss.mean * (float("nan") if bad and fast else 1.0))

    plan = dataclasses.replace(PLAN, cooldown=0.0)
    late = finish(Twice, run, plan)
    monkeypatch.setattr("aigc_cli.engine.loop.UNREAD", 1)
    at_once = finish(Twice, create_run(run.path.parent, "test", "at-once", {"plan": {}, "data": {}}), plan)
    assert len(late.learner.seen) > len(at_once.learner.seen)  # type: ignore[attr-defined]
    lines = [
        [{k: v for k, v in json.loads(line).items() if not k.endswith(("seconds", "per_second"))} for line in text.splitlines()]
        for text in (late.run.metrics.read_text(), at_once.run.metrics.read_text())
    ]
    assert lines[0] == lines[1]
    assert {"event": "rolled_back", "step": 23, "to": 20, "lr_scale": 0.5} in lines[0]
    assert torch.equal(late.learner.networks["model"].weight, at_once.learner.networks["model"].weight)
    assert (late.state.skipped, late.state.step) == (at_once.state.skipped, at_once.state.step) == (3, 40)


class Hopeless(Regression):
    def loss(self, batch: Batch) -> Loss:
        return Loss(super().loss(batch).mean * float("nan"))


def test_it_stops_with_a_line_when_nothing_helps(run: Run) -> None:
    with pytest.raises(AigcError, match=r"not finite at step 2 even at a learning rate 8 times smaller; try a smaller --lr"):
        finish(Hopeless, run)
    lines = run.metrics.read_text().splitlines()
    assert sum("rolled_back" in line for line in lines) == ROLLBACKS_BEFORE_STOP


class Worsening(Regression):
    looks = 0

    def evaluate(self, items: int) -> dict[str, float]:
        self.looks += 1
        return {"error": abs(self.looks - 3.0)}


def test_the_best_checkpoint_is_kept_and_linked_and_patience_ends_the_run(run: Run) -> None:
    plan = dataclasses.replace(PLAN, steps=400, patience=4)
    loop = training(Worsening, run, plan)
    assert loop.train(Interrupts()) == "stopped"
    assert (loop.state.best_step, loop.state.step) == (30, 70)
    assert run.model.readlink() == Path("checkpoints/step-000030/model")
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000030", "step-000070"]


@pytest.mark.parametrize("moment", range(1, 60, 3))
def test_a_crash_at_any_step_of_a_write_leaves_whole_checkpoints(
    run: Run, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename, fsync, link and write of the run's bookkeeping is a chance to die; afterwards the run resumes."""
    import os

    left = moment

    def mortal(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **keywords: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, name, call)

    with pytest.raises(KeyboardInterrupt), monkeypatch.context():
        for name in ("fsync", "rename", "replace", "symlink", "mkdir", "rmdir", "unlink"):
            mortal(name)
        finish(Regression, run)
        pytest.skip("the run has fewer writes than this")
    monkeypatch.undo()
    with run.lock():
        steps = sorted(int(path.name[5:]) for path in run.checkpoints.glob("step-*"))
    for step in steps:
        resumed(Regression, run, PLAN, step)
    if run.model.is_symlink():
        assert (run.model / "config.json").exists()
    loop = training(Regression, run)
    if steps:
        loop.checkpoints.load(loop.trainer, steps[-1])
    loop.train(Interrupts())
    alone = finish(Regression, create_run(run.path.parent, "test", "alone", {"plan": {}, "data": {}}))
    assert torch.equal(loop.learner.networks["model"].weight, alone.learner.networks["model"].weight)
    assert not list(run.path.rglob(".tmp-*"))


def test_losing_standard_error_does_not_stop_the_events() -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise BrokenPipeError

    bus = Bus(broken, heard.append)
    bus.note("one")
    bus.note("two")
    assert len(heard) == 2


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (5, 1), (40, 10), (500, 10), (1000, 20), (10_000, 200), (10**6, 200)])
def test_the_warm_up_is_a_fiftieth_of_the_steps_within_bounds(steps: int, warmup: int) -> None:
    assert default_warmup(steps) == warmup


def test_the_schedule_rises_stays_and_falls_to_nothing() -> None:
    factors = [warmup_stable_decay(step, 100, 9, 0.5) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:50] == [1.0] * 41
    assert cooldown_start(100, 0.5) == 50
    assert all(a > b > 0 for a, b in pairwise(factors[50:]))
    assert warmup_stable_decay(100, 100, 9, 0.5) == 0


def test_the_steps_that_fit_in_a_budget_cost_what_the_budget_is() -> None:
    costs = Costs(step=0.05, eval_item=0.01, look=0.2, save=0.1)
    options = settled(TrainOptions())
    plan = plan_for_seconds(Plan.of(options, batch_size=8, lr=0.1), options, costs, 100.0, eval_items=10_000)
    evaluations = -(-plan.steps // plan.eval_every)
    spent = plan.steps * costs.step + evaluations * (costs.look + costs.save + plan.eval_items * costs.eval_item)
    assert 94 < spent < 100
    assert plan.eval_items * evaluations * costs.eval_item < 0.05 * 100


def test_steps_are_timed_again_while_the_machine_is_busy() -> None:
    calm, busy, penalised = [1.0] * 12, [1.0] * 10 + [30.0] * 3, [1.0, 1.0, 1.0, 2.0] * 4
    for measured, expected, left in (
        ([calm, busy], 1.0, 1),
        ([penalised, calm], 1.25, 1),  # every fourth step costs more, and always will
        ([busy, calm, calm], 1.0, 1),
        ([busy, busy, busy, calm], 100 / 13, 1),  # it stays busy
        ([[1.0, 1.0, 9.0], calm], 11 / 3, 1),  # too few to tell
    ):
        windows = iter(measured)
        assert step_seconds(lambda windows=windows: next(windows)) == pytest.approx(expected)
        assert len(list(windows)) == left


class Slow(Regression):
    """Every look is better than the last by one, which is less than chance."""

    looks = 0

    def evaluate(self, items: int) -> dict[str, float]:
        self.looks += 1
        return {"error": 100.0 - self.looks}

    def noise(self, measures: Mapping[str, float]) -> float:
        return 1.5


@pytest.mark.parametrize(("patience", "end"), [(1, 20), (2, 400)])
def test_progress_is_what_is_beyond_chance(run: Run, patience: int, end: int) -> None:
    """Two looks together are progress, one alone is not; the best is the lowest all the same."""
    loop = finish(Slow, run, dataclasses.replace(PLAN, steps=400, patience=patience))
    assert loop.state.step == loop.state.best_step == end


class Staged(Worsening):
    """Trained in two stages, neither of which improves."""

    stages = (0.0, 0.5)


def test_a_run_ends_for_want_of_progress_in_its_last_stage_alone(run: Run) -> None:
    loop = finish(Staged, run, dataclasses.replace(PLAN, steps=80, patience=2))
    assert loop.state.step == 60  # two looks after step 40, where the last stage starts


def test_the_cost_of_a_step_is_that_of_all_stages_by_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []

    def steps(trainer: Trainer, first: int, seconds: float, patience: float) -> list[float]:
        timed.append(first)
        return [1.0 if first < 40 else 5.0] * 10

    monkeypatch.setattr(budget, "_steps", steps)
    trainer = Trainer(Staged, dataclasses.replace(PLAN, steps=80), CPU, Bus())
    assert budget.mean_step_seconds(trainer, 10.0, 1.0) == pytest.approx(0.5 * 1.0 + 0.5 * 5.0)
    assert timed == [0, 40]


class Shown(Regression):
    def preview(self) -> Preview:
        return Preview(".txt", b"a sample", "a sample")


@pytest.mark.parametrize(("most", "kept"), [(200, [2, 4, 6, 8, 10, 12]), (3, [4, 8, 12]), (2, [6, 12])])
def test_of_many_previews_few_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch, most: int, kept: list[int]) -> None:
    monkeypatch.setattr(loop, "MOST_PREVIEWS", most)
    finish(Shown, run, dataclasses.replace(PLAN, steps=12, eval_every=2))
    assert sorted(path.name for path in run.samples.iterdir()) == [f"step-{step:06d}.txt" for step in kept]


class Troubled(Regression):
    undo = False

    def concerns(self, history: Sequence[Mapping[str, object]]) -> dict[str, Concern]:
        step = max(int(str(line["step"])) for line in history if line["event"] == "evaluated")
        return {"cold": Concern(f"cold at {step}", self.undo)} if step in (20, 30, 40, 70) else {}


def test_a_concern_is_reported_once_even_across_a_resume(run: Run) -> None:
    plan = dataclasses.replace(PLAN, steps=100)
    interrupted(Troubled, run, plan, 30)
    notes: list[Event] = []
    resumed(Troubled, run, plan, 30, notes.append).train(Interrupts())
    told = [json.loads(line) for line in run.metrics.read_text().splitlines() if "concern" in line]
    assert [(line["step"], line["name"], line["text"]) for line in told] == [
        (20, "cold", "cold at 20"),
        (70, "cold", "cold at 70"),
    ]
    assert [note.text for note in notes if isinstance(note, Note)] == ["cold at 70"]


class Misled(Troubled):
    """Is taught what is wrong from step 10 to step 20."""

    undo = True

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        return {**batch, "y": -batch["y"]} if 10 <= step < 20 else batch


def interrupted(learner: type[Learner], run: Run, plan: Plan, step: int) -> TrainLoop:
    """Training that is interrupted during the evaluation at this step."""
    interrupts = Interrupts()

    def stop(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == step:
            interrupts.received = 15

    loop = training(learner, run, plan, stop)
    with pytest.raises(Interrupted):
        loop.train(interrupts)
    return loop


def weights_of(run: Run, step: int) -> torch.Tensor:
    return load_file(run.checkpoints / f"step-{step:06d}" / "state" / "networks.safetensors")["model/weight"]


def test_a_concern_is_undone_and_steps_continue(run: Run) -> None:
    plan = dataclasses.replace(PLAN, steps=100, warmup=0, cooldown=0.0)
    first = interrupted(Misled, run, plan, 20)
    assert first.state.best_step == 10
    torch.testing.assert_close(weights_of(run, 20), weights_of(run, 10), rtol=0, atol=0)
    resumed(Misled, run, plan, 20).train(Interrupts())
    whole = finish(Misled, create_run(run.path.parent, "test", "whole", {"plan": {}, "data": {}}), plan)
    torch.testing.assert_close(weights_of(run, 100), whole.learner.networks["model"].weight.data, rtol=0, atol=0)
    undone = [json.loads(line) for line in whole.run.metrics.read_text().splitlines() if "undone" in line]
    # At 30 and 40 it was told already, and the weights of 70 are the best themselves.
    assert undone == [{"event": "undone", "step": 20, "to": 10, "lr_scale": 0.5}]


def test_a_roll_back_never_goes_to_a_checkpoint_of_the_plan_before(run: Run) -> None:
    """After 40 steps it continues from step 20, before the cool-down, and is not finite before the next evaluation."""
    finish(Regression, run)
    assert run.checkpoint_steps == [20, 40]
    longer = dataclasses.replace(PLAN, steps=80, cooldown=0.0)
    run.update(continued_from=20)
    loop = resumed(Explosive, run, longer, 20)
    loop.train(Interrupts())
    back = [json.loads(line) for line in run.metrics.read_text().splitlines() if "rolled_back" in line]
    assert [line["to"] for line in back] == [20, 20]
    assert loop.state.step == 80 and 40 not in loop.checkpoints.good(39)


def test_a_best_checkpoint_that_was_deleted_is_not_returned_to(run: Run) -> None:
    """Step 10 is the best of the first twenty, and step 40 of all; the longer training has its first trouble at step 30."""
    looks = iter([1.0, 2.0, 2.0, 0.5, 3.0, 3.0])

    class Best(Troubled):
        undo = True

        def evaluate(self, items: int) -> dict[str, float]:
            return {"error": next(looks, 3.0)}

        def concerns(self, history: Sequence[Mapping[str, object]]) -> dict[str, Concern]:
            continued = any(line["event"] == "continued" for line in history)
            return {"cold": Concern("cold", True)} if continued else {}

    finish(Best, run)
    assert run.checkpoint_steps == [20, 40]
    run.update(continued_from=20)
    loop = resumed(Best, run, dataclasses.replace(PLAN, steps=80), 20)
    loop.train(Interrupts())
    assert loop.state.step == 80 and loop.state.best_step == 30
    assert not any("undone" in line for line in run.metrics.read_text().splitlines())  # there was nothing to return to


def test_no_progress_is_reported_if_training_continues(run: Run) -> None:
    notes: list[Event] = []
    finish(Worsening, run, dataclasses.replace(PLAN, steps=200), notes.append)
    assert sum("no significant progress" in note.text for note in notes if isinstance(note, Note)) == 1


class TwoPhases(Regression):
    """Two turns of two optimisers, and a count of the steps that no gradient moves."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 1, bias=False)
        self.other.register_buffer("steps", torch.zeros(()))
        self.networks["other"] = self.other
        self.optimizers["other"] = torch.optim.Adam(self.other.parameters(), 0.1)

    def phases(self, step: int, plan: Plan) -> list[Phase]:
        return [Phase("model", self.loss), Phase("other", self.other_loss, settings={"betas": (0.0, 0.5 + step / 100)})]

    def other_loss(self, batch: Batch) -> Loss:
        return Loss(self.other(batch["x"]).square().mean(), {"drawn": torch.zeros(())})

    def after_step(self, step: int, batch: Batch, plan: Plan) -> None:
        assert plan.steps == 40
        self.other.steps += 1


def test_phases_report_under_their_own_names_and_set_their_optimisers(run: Run) -> None:
    loop = finish(TwoPhases, run)
    (line, *_) = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert {"model_loss", "other_loss", "model_grad_norm", "other_grad_norm", "drawn"} <= set(line)
    assert loop.learner.optimizers["other"].param_groups[0]["betas"] == (0.0, 0.89)
    assert loop.learner.networks["other"].steps == 40


def test_the_gradient_norm_is_that_of_the_batch_s_gradient() -> None:
    trainer = Trainer(Regression, PLAN, CPU, Bus())
    batch = trainer.learner.batch(0)
    (report,) = read([trainer.step(batch, 0)])
    assert report["grad_norm"] == pytest.approx(float((2 * (batch["y"] * batch["x"]).mean(0)).norm()), rel=1e-5)


def test_a_half_life_may_follow_the_step() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = EMA(network, half_life=lambda step: step / 1000)
    nn.init.ones_(network.weight)
    average.update(step=1000)
    assert float(average.weights["weight"]) == pytest.approx(0.5)


def test_an_average_has_its_half_life() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = EMA(network, half_life=50)
    nn.init.ones_(network.weight)
    for _ in range(50):
        average.update(step=10**6)
    assert float(average.weights["weight"]) == pytest.approx(0.5, abs=1e-5)
    with average.applied():
        assert network.weight.item() == pytest.approx(0.5, abs=1e-5)
    assert network.weight.item() == 1.0


def test_an_average_has_the_buffers_of_its_network() -> None:
    network = nn.BatchNorm1d(2)
    average = EMA(network, half_life=50)
    network.running_mean.fill_(7.0)  # type: ignore[union-attr]
    average.update(step=10**6)
    assert torch.equal(average.weights["running_mean"], torch.full((2,), 7.0))


def test_orthogonalise_keeps_the_singular_vectors_and_levels_the_singular_values() -> None:
    matrices = torch.randn(3, 48, 32, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    core = u.mT @ orthogonalise(matrices) @ vh.mT
    levels = core.diagonal(dim1=-2, dim2=-1)
    assert levels.min() > 0.6 and levels.max() < 1.25
    assert (core - torch.diag_embed(levels)).abs().max() < 0.02
    torch.testing.assert_close(orthogonalise(matrices.mT), orthogonalise(matrices).mT)


def test_muon_moves_every_direction_alike_and_adamw_is_pytorchs() -> None:
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.zeros(16, 8)), nn.Parameter(torch.randn(5))
    twin = nn.Parameter(vector.detach().clone())
    ours = MuonAdamW([matrix], [{"params": [vector], "lr": 0.01, "weight_decay": 0.1}], muon_lr=0.1)
    theirs = torch.optim.AdamW([twin], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(3):
        gradient = torch.randn(5)
        matrix.grad, vector.grad, twin.grad = torch.randn(16, 8) * 1e3, gradient.clone(), gradient.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(vector, twin)
    first = nn.Parameter(torch.zeros(16, 8))
    one = MuonAdamW([first], [], muon_lr=0.1)
    first.grad = torch.randn(16, 8) * 1e3
    one.step()
    singular = torch.linalg.svdvals(first)
    assert singular.min() > 0.6 * 0.1 * 2**0.5 and singular.max() < 1.25 * 0.1 * 2**0.5  # √(rows/columns) = √2


def test_seeds_are_a_function_of_their_keys() -> None:
    seeds = {derive_seed(0, step, phase) for step in range(100) for phase in range(3)}
    assert len(seeds) == 300
    assert derive_seed(0, 1, 2) == derive_seed(0, 1, 2)


def test_only_a_long_budget_on_a_gpu_is_compiled_for_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(planning, "can_compile", lambda device: not tried.append(device.type))
    decide = planning._decide_compile
    assert decide(TrainOptions(steps=60), torch.device("cuda"), 10.0) == (False, [])
    assert decide(TrainOptions(minutes=1.0), torch.device("cuda"), 1.0) == (False, [])
    assert decide(TrainOptions(minutes=10.0), torch.device("cpu"), 10.0) == (False, [])
    assert not tried  # which alone takes a minute where it has to be compiled first
    assert decide(TrainOptions(minutes=10.0), torch.device("cuda"), 10.0) == (True, [])
    assert decide(TrainOptions(steps=60, compile=True), torch.device("cuda"), 10.0) == (True, [])
    assert tried == ["cuda", "cuda"]
