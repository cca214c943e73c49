#!/usr/bin/env bash
# From a pipe of texts to samples and measures, without a settings file. Run it anywhere; it writes into ./runs.
set -euo pipefail

# One text per line, from any program that prints lines; here 3,000 generated couplets.
couplets() {
  awk 'BEGIN {
    srand(1)
    split("moon sun king rose star ship wolf bell", who); split("sings sleeps waits turns glows falls", does)
    split("hill sea door field tower road", where)
    for (i = 0; i < 3000; i++)
      printf "the %s %s by the %s, the %s %s by the %s\n", who[1 + int(8 * rand())], does[1 + int(6 * rand())],
        where[1 + int(6 * rand())], who[1 + int(8 * rand())], does[1 + int(6 * rand())], where[1 + int(6 * rand())]
  }'
}

# Half a minute of training. Standard output is the run's folder and nothing else.
run=$(couplets | aigc train transformer --data - --minutes 0.5 --quiet)
echo "trained $run"

# Five samples, one per line; then two with a given beginning.
aigc sample transformer --run "$run" -n 5 --seed 1
aigc sample transformer --run "$run" -n 2 --seed 1 --prompt "the wolf" --echo

# Bits per character of held-out lines, with an interval, next to an n-gram model: numbers for a script.
aigc eval transformer --run "$run" --json --quiet -n 20 > figures.json
python3 -c 'import json; f = json.load(open("figures.json"))["bits_per_char"]; print(f["value"], "bits per character, n-grams", f["baseline"]["value"])'
