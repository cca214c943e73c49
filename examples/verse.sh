#!/usr/bin/env bash
# From a pipe of texts to samples and figures, without a file of settings. Run it anywhere; it writes into ./runs.
set -euo pipefail

# A text a line, from any program that prints lines; here 3,000 couplets made up on the spot.
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

# Half a minute of training. What is printed on standard output is the run's directory, and nothing else.
run=$(couplets | aigc train transformer --data - --minutes 0.5 --quiet)
echo "trained $run"

# Five samples, one a line; then two that begin as they are told to.
aigc sample transformer --run "$run" -n 5 --seed 1
aigc sample transformer --run "$run" -n 2 --seed 1 --prompt "the wolf" --echo

# What the held-out lines cost, with an interval, beside an n-gram model: a number a script can use.
aigc eval transformer --run "$run" --json --quiet -n 20 > figures.json
python3 -c 'import json; f = json.load(open("figures.json"))["bits_per_char"]; print(f["value"], "bits per character, n-grams", f["baseline"]["value"])'
