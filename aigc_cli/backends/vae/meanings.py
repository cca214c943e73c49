"""What the VAE's measures mean. Free of torch."""

from __future__ import annotations

from aigc_cli.backends.pictures.meanings import REFERENCES, SAMPLE_QUALITY
from aigc_cli.engine.meanings import Meaning, Meanings

MEANINGS = Meanings(
    {
        "nll": Meaning("Negative log-likelihood", "An upper bound on −log p of unseen pictures. Lower is better.",
            "nats/picture"),
        "elbo": Meaning("ELBO", "The evidence lower bound: minus rate and distortion. Higher is better.", "nats/picture"),
        "negative_elbo": Meaning("Negative ELBO", "The bound that training minimises: rate plus distortion. Lower is better.",
            "nats/picture"),
        "rate": Meaning("Rate", "How much information the latents carry about a picture (the KL divergence). Near 0 they are "
            "unused.", "nats/picture"),
        "distortion": Meaning("Distortion", "What the latents leave out of a picture (the reconstruction term).",
            "nats/picture"),
        "bits_per_dim": Meaning("Bits per dimension", "The negative log-likelihood per pixel and channel. Lower is better.",
            "bits/dim"),
        "held_out_loss": Meaning("Held-out loss", "The error of reconstructions of unseen pictures plus the prior's loss on "
            "their latents: what chooses the checkpoint. Lower is better."),
        "reconstruction_error": Meaning("Reconstruction error", "How far reconstructions are from the pictures, per pixel on a "
            "scale from -1 to 1: the absolute difference plus its square. Lower is better."),
        "flow_matching": Meaning("Flow-matching loss", "How far the prior's velocity is from the way from noise to the latents "
            "of pictures: 2 untrained, and above 0 at best. Lower is better."),
        "rate_per_latent": Meaning("Rate of a latent", "How much information a latent carries about its picture.", "nats",
            minor=True),
        "codes_in_use": Meaning("Codes in use", "How many of the possible codes occur.", "codes"),
        "code_entropy": Meaning("Entropy of a code", "How evenly the codes are used. Higher is better, up to the logarithm of "
            "their number.", "bits/code"),
        "active_units": Meaning("Active latents", "How many latents vary from picture to picture.", "latents"),
        "information": Meaning("Information", "How much each latent, on its own, says about which picture it is.", "nats"),
        "mmd": Meaning("Latents against their prior", "A distance between the latents of pictures and the prior that samples "
            "are drawn from. About 0 is right."),
        "mig": Meaning("Mutual information gap", "Whether each factor of the data has a latent of its own: 1 when it has, 0 "
            "when none stands out."),
        "psnr": Meaning("PSNR of reconstructions", "How close reconstructions are to the pictures, pixel by pixel; the median. "
            "Higher is better.", "dB"),
        "ssim": Meaning("SSIM of reconstructions", "How close reconstructions are to the pictures in structure, up to 1. "
            "Higher is better."),
        **SAMPLE_QUALITY,
    },
    REFERENCES,
    example="picture",
)  # fmt: skip
