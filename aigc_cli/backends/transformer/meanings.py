"""What the Transformer's measures mean. Free of torch."""

from __future__ import annotations

from aigc_cli.backends.pictures.meanings import SAMPLE_QUALITY
from aigc_cli.engine.meanings import Meaning, Meanings

MEANINGS = Meanings(
    {
        # Likelihood
        "bits_per_char": Meaning("Bits per character", "How many bits the model needs per character of unseen text. Lower is "
            "better.", "bits/char"),
        "bits_per_char_above_floor": Meaning("Bits per character above the floor", "How many more bits than the entropy of the "
            "data. Lower is better; 0 is perfect.", "bits/char"),
        "bits_per_char_(.+)": Meaning("Bits per character of {0}", "The same for this field, given those before it. Lower is "
            "better.", "bits/char"),
        "bits_per_byte": Meaning("Bits per byte", "The same per byte of UTF-8, which is comparable across scripts. Lower is "
            "better.", "bits/byte"),
        "perplexity": Meaning("Perplexity", "The number of equally likely tokens the model in effect chooses among. Lower is "
            "better; comparable only between models with the same tokenizer.", "per token"),
        "unknown_words": Meaning("Unknown words", "The share of words that are not in the vocabulary."),
        # Music
        "nats_per_event": Meaning("Nats per event", "What an event of an unseen piece costs, such as a pitch or a duration. "
            "Lower is better.", "nats/event"),
        "nats_per_beat": Meaning("Nats per beat", "The same per quarter note of music. Lower is better.", "nats/beat"),
        "valid": Meaning("Whole files", "The share of samples whose file can be read again with all its notes. Best at 1."),
        "copied_bars": Meaning("Copied bars", "The share of samples with a whole bar of the training pieces, in any key, not "
            "counting bars that recur all over them. Best close to the human figure."),
        # Records
        "nats_per_record": Meaning("Nats per record", "What all fields of an unseen record cost together. Lower is better.",
            "nats"),
        "nats_per_last_field": Meaning("Nats per last field", "What the last field of an unseen record costs, given the ones "
            "before it. Lower is better.", "nats"),
        "nats_per_picture_(.+)": Meaning("Nats per picture of {0}", "What the codes of an unseen picture cost, given the "
            "fields before it. Lower is better; comparable only with the same codec.", "nats/picture"),
        "nats_per_sound_(.+)": Meaning("Nats per sound of {0}", "What the codes of an unseen sound cost, given the "
            "fields before it. Lower is better; comparable only with the same codec.", "nats/sound"),
        "retrieval": Meaning("Retrieval", "How often a record's own leading fields, among those of 16 records, make its last "
            "field the likeliest. Higher is better."),
        "agreement": Meaning("Agreement", "How often a judge, trained on the real pairs of the training data, finds the "
            "words that a picture or sound was made for among those of 16 unseen records. Higher is better."),
        **SAMPLE_QUALITY,
        # Samples
        r"distinct_(\d+)": Meaning("Distinct {0}-grams", "How varied the samples are: the share of word sequences of this "
            "length that are distinct. Best close to the human figure."),
        "copied_lines": Meaning("Copied lines", "The share of samples that contain a whole line of the training text, not "
            "counting lines that recur all over it. Lower is better."),
        "longest_copy": Meaning("Longest copy", "The longest stretch of a sample that is in the training text word for word; "
            "the median. Well above the human figure, the model recites.", "chars"),
        "longest_copy_max": Meaning("Longest copy of all", "The same for the sample that copies most.", "chars"),
        r"novelty_(\d+)": Meaning("New {0}-grams", "The share of word sequences of this length that are not in the training "
            "text. Below the human figure, the model copies."),
        # Answers
        "chrf": Meaning("chrF", "How close answers are to the references, by character n-grams, from 0 to 100. Higher "
            "is better."),
        "bleu": Meaning("BLEU", "How close answers are to the references, by word n-grams, from 0 to 100. Higher is "
            "better."),
        "exact_match": Meaning("Exact matches", "The share of answers that equal the reference. Higher is better."),
    },
    {
        "floor": "the entropy of the process that generated the data, or the same measure on real pictures or sounds: no "
        "model can do better except by chance",
        "human": "the same measure on as much held-out human text",
        "baseline": "the best of several n-gram models of the same training text",
        "xz": "the xz compressor, primed with the training text",
        "copy": "answering with the source itself",
        "another": "the same, given another record's fields before it",
        "another_picture": "the same answers when each picture is another record's",
        "another_sound": "the same answers when each sound is another record's",
        "frequent": "always answering with the most frequent answer",
        "reconstructed": "the same measure on held-out pictures or sounds turned into codes and back",
        "real": "the same measure on the real held-out pictures or sounds",
        "chance": "guessing",
        "nearest": "answering with the answer to the most similar training source",
    },
)  # fmt: skip
