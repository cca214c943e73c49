#!/usr/bin/env bash
# New pictures from a folder of pictures with a GAN: train, sample, interpolate between two pictures, and check for copies.
#
#     examples/shapes.sh [FOLDER [MINUTES]]
#
# Without a folder it uses the built-in coloured shapes. It writes into the current directory.
set -euo pipefail
data=${1:-demo:shapes}
minutes=${2:-1}

# Standard output is the run's folder and nothing else.
run=$(aigc train gan --data "$data" --minutes "$minutes" --quiet)
echo "trained $run"

# Previews use the same latents at every evaluation, so that these sheets are a film of the training.
ls "$run"/samples

# A seed is a picture: here are 36 of them, and an interpolation from the third to the seventh.
aigc sample gan --run "$run" --seeds 1-36 --out new.png --force --quiet
aigc sample gan --run "$run" --interpolate 3 7 -n 9 --out between.png --force --quiet

# As many as you like through a pipe, without an intermediate file.
mkdir -p hundred
aigc sample gan --run "$run" --seeds 1-100 --out - --quiet | tar -x -C hundred

# How far samples are from held-out pictures, compared with training pictures in their place, and the pairs most like copies.
aigc eval gan --run "$run" --copies nearest.png --json --quiet > gan.json
python3 -c '
import json
figures = json.load(open("gan.json"))
for name in ("kd_random", "recall", "copies"):
    m = figures[name]
    print(name, m["value"], "between", m["low"], "and", m["high"], "of n =", m["n"])
'
