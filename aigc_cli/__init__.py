"""Train a generative model on your own data, sample from it and evaluate it."""

import os

__version__ = "0.1.0"

# Before torch is imported: OpenMP's threads wait for one another by spinning, for seconds by default, so that beside any other
# busy process training becomes twenty times slower; with a short spin it shares the cores fairly, and alone it is as fast.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
