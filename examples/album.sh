#!/usr/bin/env bash
# All three together: a GAN draws pictures, a VAE picks the likeliest of them, and a Transformer captions each.
#
#     examples/album.sh [PICTURES [TEXTS [MINUTES]]]
#
# Without arguments it uses the built-in shapes and verse. It writes album/index.html.
set -euo pipefail
pictures=${1:-demo:shapes}
texts=${2:-demo:verse}
minutes=${3:-1}

gan=$(aigc train gan --data "$pictures" --minutes "$minutes" --quiet)
vae=$(aigc train vae --data "$pictures" --minutes "$minutes" --quiet)
transformer=$(aigc train transformer --data "$texts" --minutes "$minutes" --quiet)

# Pictures travel as a tar, scores come back as JSON Lines; keep nine of a hundred.
mkdir -p album
aigc sample gan --run "$gan" --seeds 1-100 --out - --quiet > drawn.tar
aigc encode vae --run "$vae" --data drawn.tar --json --quiet | python3 -c '
import json, sys
for picture in sorted(map(json.loads, sys.stdin), key=lambda picture: picture["score"])[:9]:
    print(picture["name"])
' > kept.txt
tar -x -f drawn.tar -C album -T <(sed "s|^drawn.tar/||" kept.txt)

# One text per picture.
aigc sample transformer --run "$transformer" -n 9 --seed 1 --json --quiet > texts.jsonl
(cd album && ls -- *.png) | paste - texts.jsonl | python3 -c '
import html, json, sys
print("<!doctype html><meta charset=utf-8><title>Album</title><style>figure { display: inline-block; width: 15em } img { width: 8em }</style>")
for line in sys.stdin:
    picture, text = line.rstrip("\n").split("\t", 1)
    words = html.escape(json.loads(text)["text"])
    print(f"<figure><img src=\"{html.escape(picture)}\"><figcaption style=\"white-space: pre-line\">{words}</figcaption></figure>")
' > album/index.html
echo album/index.html
