#!/usr/bin/env bash
# Which pictures in a folder don't belong? A VAE learns what pictures look like, and scores each with a bound on -log p.
#
#     examples/odd-ones-out.sh [FOLDER [MINUTES]]
#
# Without a folder it learns the built-in coloured shapes, and then scores twenty of its own pictures together with three that
# were sampled far from what it knows. It writes into the current directory.
set -euo pipefail
data=${1:-demo:shapes}
minutes=${2:-1}

run=$(aigc train vae --data "$data" --minutes "$minutes" --quiet)
echo "trained $run"

if [ $# -eq 0 ]; then
  data=judged
  rm -rf judged
  aigc sample vae --run "$run" -n 20 --seed 1 --out judged --quiet > /dev/null
  aigc sample vae --run "$run" -n 3 --seed 2 --temperature 4 --out judged --quiet > /dev/null
fi

# One line per picture: its name, score, latent vector and the share of held-out pictures with a lower score. Oddest first.
aigc encode vae --run "$run" --data "$data" --json --quiet > latents.jsonl
python3 -c '
import json
pictures = [json.loads(line) for line in open("latents.jsonl")]
for picture in sorted(pictures, key=lambda picture: -picture["score"])[:5]:
    print(round(picture["score"]), "nats, percentile", picture["percentile"], ascii(picture["name"]))
'

# Latent vectors are a table like any other: decode pictures from the means alone.
aigc decode vae --run "$run" --from latents.jsonl --out again.png --force --quiet
