"""Train a generative model on your own data, sample from it and measure it."""

__version__ = "0.1.0"
