"""What the measures of samples mean that all picture backends have in common. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping

from aigc_cli.engine.meanings import Meaning

CLASS_SHARES = (
    "How far the class proportions of the samples are from those of the data: 0 when they agree, 1 when they have no class in "
    "common. Lower is better."
)

SAMPLE_QUALITY: Mapping[str, Meaning] = {
    "fd_(.+)": Meaning("Fréchet distance, {0} features", "How far samples as a whole are from real pictures, by the mean and "
        "covariance of their features. Lower is better."),
    "reconstruction_fd_(.+)": Meaning("Fréchet distance of reconstructions, {0} features", "How far reconstructions of unseen "
        "pictures as a whole are from training pictures, by the mean and covariance of their features. Lower is better."),
    "reconstruction_kd_(.+)": Meaning("Kernel distance of reconstructions, {0} features", "How far reconstructions of unseen "
        "pictures as a whole are from training pictures, without the bias that the Fréchet distance has for small samples. "
        "Lower is better."),
    "kd_error": Meaning("Error of the kernel distance", "The standard error of the kernel distance.", minor=True),
    "kd_(.+)": Meaning("Kernel distance, {0} features", "How far samples as a whole are from real pictures, without the bias "
        "that the Fréchet distance has for small samples. Lower is better; near 0, these features can't tell samples from real "
        "pictures."),
    "fid": Meaning("FID", "The Fréchet distance from unseen real pictures, by Inception-v3's features. Lower is better. It "
        "depends on how many pictures are compared."),
    "kid": Meaning("KID", "The kernel distance from unseen real pictures, by Inception-v3's features, without the bias that "
        "FID has for small samples. Lower is better. Papers often print it times 1,000."),
    "reconstruction_fid": Meaning("FID of reconstructions", "The Fréchet distance of reconstructions of unseen pictures from "
        "training pictures, by Inception-v3's features. Lower is better."),
    "reconstruction_kid": Meaning("KID of reconstructions", "The kernel distance of reconstructions of unseen pictures from "
        "training pictures, by Inception-v3's features. Lower is better."),
    "precision": Meaning("Precision", "The share of samples that look like real pictures. Higher is better."),
    "recall": Meaning("Recall", "The share of real pictures that look like samples; low when modes are missing. Higher is "
        "better."),
    "density": Meaning("Density", "How densely real pictures surround the samples; above 1, samples are in the most typical "
        "regions. Higher is better."),
    "coverage": Meaning("Coverage", "The share of real pictures with a sample among their neighbours. Higher is better."),
    "copies": Meaning("Copies", "The share of samples that are closer to a training picture than 99 % of unseen real pictures "
        "are. Well above the floor, the model copies."),
    "inception_score": Meaning("Inception score", "Whether a classifier of the data's labels is sure about each sample and "
        "finds all classes among them: from 1 to the number of classes. Higher is better; the floor is of unseen real ones."),
    "silent": Meaning("Silent", "The share of sounds that are 60 dB softer than the loudest real one."),
    "clipped": Meaning("Too loud", "The share of sounds that go beyond what a file can hold. They are made softer on writing."),
    "class_shares": Meaning("Difference in classes", CLASS_SHARES),
    "class_shares_(.+)": Meaning("Difference in classes, {0}", CLASS_SHARES),
}  # fmt: skip

REFERENCES: Mapping[str, str] = {
    "floor": "the same measure on real pictures in place of the samples: no model can do better except by chance",
    "train": "the same measure on training pictures",
}
