#!/usr/bin/env bash
# New pictures from a folder of pictures, by a GAN: train it, draw, walk between two pictures, and see whether it copied.
#
#     examples/shapes.sh [FOLDER [MINUTES]]
#
# Without a folder it learns the coloured shapes that aigc draws by itself. It writes into the current directory.
set -euo pipefail
data=${1:-demo:shapes}
minutes=${2:-1}

# What is printed on standard output is the run's directory, and nothing else.
run=$(aigc train gan --data "$data" --minutes "$minutes" --quiet)
echo "trained $run"

# The same latents at every evaluation, so that these sheets are the film of the training.
ls "$run"/samples

# A seed is a picture: here are 36, and the way from the third to the seventh.
aigc sample gan --run "$run" --seeds 1-36 --out new.png --force --quiet
aigc sample gan --run "$run" --interpolate 3 7 -n 9 --out between.png --force --quiet

# As many as you like through a pipe, without a file in between.
mkdir -p hundred
aigc sample gan --run "$run" --seeds 1-100 --out - --quiet | tar -x -C hundred

# How far they are from held-out pictures, beside what training pictures in their place have, and the pairs that look most like copies.
aigc eval gan --run "$run" --copies nearest.png --json --quiet > gan.json
python3 -c '
import json
figures = json.load(open("gan.json"))
for name in ("kd_random", "recall", "copies"):
    m = figures[name]
    print(name, m["value"], "between", m["low"], "and", m["high"], "of n =", m["n"])
'
