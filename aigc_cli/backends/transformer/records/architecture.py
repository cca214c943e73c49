"""How the Transformer learns records with pictures. Imported only for these: their data take time to import."""

from __future__ import annotations

from typing import Any

from aigc_cli.backends.transformer.architectures import ARCHITECTURES, Architecture
from aigc_cli.backends.transformer.config import DecoderOnlyPlan
from aigc_cli.backends.transformer.records.eval import evaluation
from aigc_cli.backends.transformer.records.learner import RecordLearner
from aigc_cli.backends.transformer.records.plan import plan_for

RECORDS: Architecture[Any] = Architecture(
    DecoderOnlyPlan, plan_for, RecordLearner, evaluation, ARCHITECTURES["decoder-only"].load
)
