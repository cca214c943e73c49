"""What the GAN's measures mean. Free of torch."""

from __future__ import annotations

from aigc_cli.backends.pictures.meanings import REFERENCES, SAMPLE_QUALITY
from aigc_cli.engine.meanings import Meaning, Meanings

MEANINGS = Meanings(
    {
        **SAMPLE_QUALITY,
        "margin(|_train|_held_out)": Meaning("Margin", "How far the discriminator scores real pictures above samples. When "
            "training pictures are far above held-out ones, it has memorised them.", "nats", chart="margin"),
        "spread": Meaning("Spread", "The variance of samples relative to real pictures. Well below 1, samples are all alike."),
        "augmentation": Meaning("Augmentation", "How often the discriminator sees altered pictures, so that it can't memorise "
            "them.", minor=True),
    },
    REFERENCES,
    example="picture",
)  # fmt: skip
