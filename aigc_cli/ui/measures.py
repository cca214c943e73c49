"""What each measure means, in words: the one place where that is said, whoever measures it.

A measure that nobody wrote about here is shown by its name in words and without a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """How a measure is called, what it says, and in what it is counted where it doesn't tell itself."""

    title: str
    sentence: str = ""
    unit: str = ""
    chart: str = ""
    """Curves that share a drawing have the same; empty for one of its own."""
    minor: bool = False
    """Of how the training went rather than of what came of it."""


#: What stands beside a value, by its key.
BESIDE_MEANINGS: Mapping[str, str] = {
    "floor": "what real examples in the samples' place have, or what the law of the data itself costs: no model can do better "
    "but by chance",
    "human": "the same figure of held-out human text, as many and as long",
    "baseline": "the best of some n-gram models of the same training text",
    "xz": "the xz compressor, given the training text first",
    "copy": "what one gets by answering with the source itself",
    "nearest": "what one gets by answering as to the most similar training source",
    "train": "the same figure of training data",
}

# Names are matched as a whole; {0} is what the first group matched, in words.
_MEANINGS: tuple[tuple[str, Meaning], ...] = (
    # Likelihood of text
    ("bits_per_char", Meaning("Bits per character", "What a character of unseen text costs: the fewer bits, the "
        "better the model foresaw it.", "bits/char")),
    ("bits_per_char_above_floor", Meaning("Bits per character above the floor", "How much more than the law of the data the "
        "model charges. Lower is better; 0 is perfect.", "bits/char")),
    ("bits_per_char_(.+)", Meaning("Bits per character of {0}", "What a character of this field costs, given those before "
        "it. Lower is better.", "bits/char")),
    ("bits_per_byte", Meaning("Bits per byte", "The same cost by bytes of UTF-8, which compares across scripts. Lower is "
        "better.", "bits/byte")),
    ("perplexity", Meaning("Perplexity", "Among how many equally likely tokens the model in effect chooses. Lower is better, "
        "among models of one tokenizer only.", "per token")),
    ("unknown_words", Meaning("Unknown words", "The share of words that the vocabulary doesn't have.")),
    # Samples of text
    (r"distinct_\d+", Meaning("Distinct {n}-grams", "How varied the samples are: of all sequences of so many words, the share "
        "that are different ones. As near to the human figure as can be.")),
    ("copied_lines", Meaning("Copied lines", "The share of samples with a whole line of the training text, but "
        "for lines that recur in it all the time. Lower is newer.")),
    ("longest_copy", Meaning("Longest copy", "The longest stretch of a sample, for half of them at most, that the training "
        "text has word for word. Much above the human figure, the model recites.", "chars")),
    ("longest_copy_max", Meaning("Longest copy of all", "The same for the sample that copies most.", "chars")),
    (r"novelty_\d+", Meaning("New {n}-grams", "The share of sequences of so many words that the training text doesn't have. "
        "Below the human figure, the model copies.")),
    # Answers
    ("chrf", Meaning("chrF", "How much of the given answers' spelling the model's answers share, from 0 to 100. Higher is "
        "better.")),
    ("bleu", Meaning("BLEU", "How much of the given answers' wording the model's answers share, from 0 to 100. Higher is "
        "better.")),
    ("exact_match", Meaning("Exact matches", "The share of answers that are the given one to the letter. Higher is better.")),
    # Samples of pictures
    ("fd_(.+)", Meaning("Fréchet distance, {0} features", "How far samples as a whole lie from real pictures, by the mean and "
        "the spread of their features. Lower is better.")),
    ("kd_error", Meaning("Error of the kernel distance", "By how much the kernel distance may be off by chance.", minor=True)),
    ("kd_(.+)", Meaning("Kernel distance, {0} features", "How far samples as a whole lie from real pictures, without the "
        "Fréchet distance's bias for few of them. Lower is better; about 0 is as good as real as far as these features "
        "tell.")),
    ("precision", Meaning("Precision", "The share of samples that look like real pictures. Higher is better.")),
    ("recall", Meaning("Recall", "The share of real pictures that look like samples: low where kinds are missing. Higher is "
        "better.")),
    ("density", Meaning("Density", "How deep samples lie among real pictures; above 1, among the most typical. Higher is "
        "better.")),
    ("coverage", Meaning("Coverage", "The share of real pictures with a sample among their neighbours. Higher is better.")),
    ("copies", Meaning("Copies", "The share of samples that are nearer to a training picture than all but one in a hundred "
        "real new pictures are. Much above the floor, the model copies.")),
    ("class_shares", Meaning("Difference in classes", "How far the samples' shares of classes are from the data's: 0 where "
        "they agree, 1 where they have none in common. Lower is better.")),
    ("margin(|_train|_held_out)", Meaning("Margin", "How far real pictures score above samples with the discriminator. Where "
        "training pictures are far above held-out ones, it knows them by heart.", "nats", chart="margin")),
    ("spread", Meaning("Spread", "The variance of samples as a share of real pictures'. Well below 1, they are all alike.")),
    ("augmentation", Meaning("Augmentation", "How often the discriminator sees pictures altered, so that it can't learn them "
        "by heart.", minor=True)),
    # Likelihood and latents
    ("nll", Meaning("Cost of a picture", "A bound from above on −log p of unseen pictures, the model's surprise. Lower is "
        "better.", "nats/picture")),
    ("elbo", Meaning("ELBO", "The evidence lower bound, which training raises: minus rate and distortion. Higher is better.",
        "nats/picture")),
    ("negative_elbo", Meaning("Cost of a picture, one draw", "The bound that training lowers: rate and distortion together. "
        "Lower is better.", "nats/picture")),
    ("rate", Meaning("Rate", "What is told by the latents of a picture. Near 0 they are not used.", "nats/picture")),
    ("distortion", Meaning("Distortion", "What the latents leave untold of a picture.", "nats/picture")),
    ("bits_per_dim", Meaning("Bits per dimension", "The cost of a picture by pixel and channel. Lower is better.", "bits/dim")),
    ("active_units", Meaning("Active latents", "How many of the latents vary from picture to picture.", "latents")),
    ("information", Meaning("Information", "What the latents, each by itself, tell of which picture it is.", "nats")),
    ("mmd", Meaning("Latents against their prior", "A distance between the latents of pictures and those that samples are "
        "made from. About 0 is right.")),
    ("mig", Meaning("Mutual information gap", "Whether each factor of the data has a latent of its own: 1 where it has, 0 "
        "where none stands out.")),
    ("psnr", Meaning("PSNR of reconstructions", "How near pictures come back from their latents, pixel by pixel; the median. "
        "Higher is nearer.", "dB")),
    ("ssim", Meaning("SSIM of reconstructions", "How near pictures come back from their latents, in structure, up to 1. "
        "Higher is nearer.")),
    # Training
    ("loss", Meaning("Loss", "What training lowers, on the examples it learns from.", "nats", chart="loss")),
    ("(.+)_loss", Meaning("Loss", "What training lowers, on the examples it learns from.", "nats", chart="loss")),
    ("(|.+_)grad_norm", Meaning("Gradient norm", "How steep the loss is.", chart="grad_norm", minor=True)),
    ("lr", Meaning("Learning rate", "How large the steps are.", minor=True)),
    ("(.+)_per_second", Meaning("Speed", "", "{0}/s", minor=True)),
)  # fmt: skip


def meaning_of(name: str) -> Meaning:
    """What is known of the measure called `name`."""
    for pattern, meaning in _MEANINGS:
        match = re.fullmatch(pattern, name)
        if match is not None:
            group = in_words(match[1]) if match.groups() else ""
            number = name.rpartition("_")[2]
            return Meaning(
                meaning.title.replace("{0}", group).replace("{n}", number),
                meaning.sentence,
                meaning.unit.replace("{0}", group),
                meaning.chart,
                meaning.minor,
            )
    return Meaning(in_words(name)[:1].upper() + in_words(name)[1:])


def in_words(name: str) -> str:
    return name.replace("_", " ").strip()
