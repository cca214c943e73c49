#!/usr/bin/env bash
# The classic text-generation project in three commands: a folder with train.tsv, val.tsv and test.tsv, each with a column
# `text` of Chinese poems; words as spaCy cuts them, in lower case, between <sos> and <eos>, those seen at least five times;
# and an encoder-decoder Transformer with sinusoidal positions, which reads the first half of a poem and writes the rest.
#
#     examples/classic.sh [FOLDER [MINUTES]]
#
# Without a folder it makes up a tiny one. It needs spaCy (pip install 'aigc-cli[spacy]') and writes into the current directory.
set -euo pipefail
folder=${1:-classic-poems}
minutes=${2:-0.5}
# spaCy's Chinese model, where it is installed (python -m spacy download zh_core_web_sm), is spacy:zh_core_web_sm.
tokenizer=${TOKENIZER:-spacy:blank:zh}

if [ $# -eq 0 ]; then
  mkdir -p "$folder"
  for split in train val test; do
    awk -v seed="${#split}$(printf '%d' "'$split")" -v rows=$([ $split = train ] && echo 2000 || echo 100) 'BEGIN {
      srand(seed)
      split("明月 秋风 春水 白云 青山 孤舟", what); split("江上 林间 天边 楼前 门外 山中", where); split("来 去 远 深 生 归", does)
      print "text"
      for (i = 0; i < rows; i++) {
        for (line = 1; line <= 2; line++)
          printf "%s%s%s%s", where[1 + int(6 * rand())], what[1 + int(6 * rand())], does[1 + int(6 * rand())], line == 1 ? "，" : "。"
        print ""
      }
    }' > "$folder/$split.tsv"
  done
fi

# val.tsv chooses the best checkpoint. The sizes follow from the minutes; the project's own would be given as --d-model 256
# --nhead 8 --num-encoder-layers 3 --num-decoder-layers 3 --dim-feedforward 1024 --max-seq-length 128 --dropout 0.1.
run=$(aigc train transformer --data "$folder" --arch encoder-decoder --source-ratio 0.5 --tokenizer "$tokenizer" --lower \
  --min-freq 5 --unk --minutes "$minutes" --quiet)
echo "trained $run"

# The first halves of five test poems, and what the model goes on with: drawn, then the likeliest that a beam finds.
python3 - "$folder/test.tsv" > first-halves.txt <<'PYTHON'
import csv, sys
for row in csv.DictReader(open(sys.argv[1], encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE):
    print(row["text"][: len(row["text"]) // 2])
PYTHON
head -n 5 first-halves.txt | aigc sample transformer --run "$run" --prompt - --echo --seed 1 --quiet
head -n 5 first-halves.txt | aigc sample transformer --run "$run" --prompt - --echo --beam 4 --quiet

# On test.tsv: what a character of the second halves costs, unknown words spelled, and how near greedy ones come to the poets'.
aigc eval transformer --run "$run" --data "$folder" --quiet > figures.tsv
cat figures.tsv
