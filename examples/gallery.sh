#!/usr/bin/env bash
# The picture at the top of the README: samples of all three generators on the built-in data with default settings.
#
#     examples/gallery.sh [GALLERY.svg [MINUTES]]
#
# Trains each for five minutes, then composes one picture from the output of `aigc sample` and nothing else.
set -euo pipefail
gallery=${1:-gallery.svg}
minutes=${2:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for backend in gan vae transformer; do
  aigc train "$backend" --minutes "$minutes" --quiet --runs-dir "$folder/runs" > /dev/null
done
for backend in gan vae; do
  aigc sample "$backend" -n 36 --seed 1 --out "$folder/$backend.png" --quiet --runs-dir "$folder/runs" > /dev/null
done
aigc sample transformer -n 3 --seed 1 --quiet --runs-dir "$folder/runs" > "$folder/verse.txt"

picture() { # NAME X: a sheet and what stands above it
  echo "<text class='name' x='$2' y='36'>aigc sample $1 -n 36</text>"
  echo "<image x='$2' y='52' width='300' height='300' style='image-rendering: pixelated' href='data:image/png;base64,$(base64 < "$folder/$1.png" | tr -d '\n')'/>"
}
{
  echo "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1000 372' font-size='14'>"
  echo "<style>text { font-family: Georgia, serif; fill: #222 } .name { font-family: monospace; fill: #666 }</style>"
  echo "<rect width='1000' height='372' rx='12' fill='#f7f6f2'/>"
  picture gan 20
  picture vae 340
  echo "<text class='name' x='670' y='36'>aigc sample transformer -n 3</text>"
  # A sample is a line with \n for its line breaks; the poems go one below the other.
  tr -d '\000-\011\013-\037' < "$folder/verse.txt" | cut -c 1-400 | sed 's/&/\&amp;/g; s/</\&lt;/g; s/$/\\n/; s/\\n/\n/g' | head -n 16 |
    awk '{ printf "<text x=\"670\" y=\"%d\">%s</text>\n", 70 + 18 * (NR - 1), $0 }'
  echo "</svg>"
} > "$gallery"
echo "$gallery"
