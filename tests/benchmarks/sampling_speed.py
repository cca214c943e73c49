"""Tokens per second when sampling: ours, nanoGPT's `generate` and Hugging Face's `generate` with its cache.

    python tests/benchmarks/sampling_speed.py --nanogpt PATH [--run RUN/model] [--threads 1] [--repeats 5]

PATH is a checkout of nanoGPT or its model.py. Without `--run`, the weights are random: four layers of width 128
with four heads, as in nanoGPT's configuration for a CPU. Hugging Face samples from the same weights, nanoGPT from its own network
of the same shape. The three take turns in one process; none may stop early.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.model import Transformer, TransformerConfig, load_pretrained, save_pretrained
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.token_rules import TokenRules

NEVER = -1


def random_model(context: int) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(
        TransformerConfig(
            vocab_size=65,
            d_model=128,
            n_layers=4,
            n_heads=4,
            n_kv_heads=4,
            head_dim=32,
            d_ff=384,
            context=context,
            eot_id=0,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def ours(model: Transformer, n_texts: int, n_tokens: int) -> None:
    samples = generate(
        CausalLM(model),
        [Job(0, [1], draws=n_texts)],
        options=SamplingOptions(max_tokens=n_tokens),
        rules=TokenRules(NEVER),
        seed=0,
        decode_bytes=bytes,
        batch_size=n_texts,
        device=torch.device("cpu"),
    )
    assert sum(len(one.ids) for one in samples) == n_texts * n_tokens


def nanogpt(path: Path, config: TransformerConfig) -> Callable[[int, int], None]:
    file = path / "model.py" if path.is_dir() else path
    spec = importlib.util.spec_from_file_location("nanogpt_model", file)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shape = {
        "block_size": config.context,
        "vocab_size": config.vocab_size,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_embd": config.d_model,
        "dropout": 0.0,
        "bias": False,
    }
    model = module.GPT(module.GPTConfig(**shape)).eval()

    def run(n_texts: int, n_tokens: int) -> None:
        ids = model.generate(torch.ones(n_texts, 1, dtype=torch.long), n_tokens)
        assert ids.shape == (n_texts, 1 + n_tokens)

    return run


def hugging_face(model: Transformer) -> Callable[[int, int], None]:
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, Path(folder))
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    theirs.generation_config.eos_token_id = None
    theirs.generation_config.pad_token_id = 0

    def run(n_texts: int, n_tokens: int) -> None:
        prompt = torch.ones(n_texts, 1, dtype=torch.long)
        mask = torch.ones_like(prompt)
        ids = theirs.generate(prompt, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=n_tokens)
        assert ids.shape == (n_texts, 1 + n_tokens)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="a model folder to sample from, in place of random weights")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--context", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--texts", type=int, nargs="+", default=[64, 1])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    models = [load_pretrained(options.run)] if options.run else [random_model(n) for n in options.context]
    print("threads\tcontext\ttexts\tsampler\ttokens/s\tslowest\tfastest\tn\tours is faster by")
    for model in models:
        samplers: dict[str, Callable[[int, int], None]] = {
            "ours": lambda n_texts, n_tokens, model=model: ours(model, n_texts, n_tokens),
            "nanoGPT": nanogpt(options.nanogpt, model.config),
            "Hugging Face": hugging_face(model),
        }
        for threads in options.threads:
            torch.set_num_threads(threads)
            for n_texts in options.texts:
                for sampler in samplers.values():
                    sampler(n_texts, 8)
                speeds: dict[str, list[float]] = {name: [] for name in samplers}
                for _ in range(options.repeats):
                    for name, sampler in samplers.items():
                        start = time.perf_counter()
                        sampler(n_texts, options.tokens)
                        speeds[name].append(n_texts * options.tokens / (time.perf_counter() - start))
                best = statistics.median(speeds["ours"])
                for name, values in speeds.items():
                    median = statistics.median(values)
                    place = f"{threads}\t{model.config.context}\t{n_texts}\t{name}"
                    extent = f"{median:.0f}\t{min(values):.0f}\t{max(values):.0f}\t{len(values)}"
                    print(f"{place}\t{extent}\t{best / median:.1f}", flush=True)


if __name__ == "__main__":
    main()
