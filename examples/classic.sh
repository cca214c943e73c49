#!/usr/bin/env bash
# The classic text-generation project in three commands: a folder with train.tsv, val.tsv and test.tsv, each with a column
# `text` of Chinese poems; a vocabulary of spaCy's words, lower-cased, seen at least five times, with <sos> and <eos>; and an
# encoder-decoder Transformer with sinusoidal positions, which reads the first half of a poem and writes the rest.
#
#     examples/classic.sh [FOLDER [MINUTES]]
#
# Without a folder it generates a tiny one. It needs spaCy (pip install 'aigc-cli[spacy]') and writes into the current directory.
set -euo pipefail
folder=${1:-classic-poems}
minutes=${2:-0.5}
# With spaCy's Chinese model (python -m spacy download zh_core_web_sm), set TOKENIZER=spacy:zh_core_web_sm.
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

# val.tsv chooses the best checkpoint. The model's size follows from the minutes; the original project's would be --d-model 256
# --n-heads 8 --num-encoder-layers 3 --num-decoder-layers 3 --d-ff 1024 --context 128 --dropout 0.1.
run=$(aigc train transformer --data "$folder" --arch encoder-decoder --source-ratio 0.5 --tokenizer "$tokenizer" --lower \
  --min-freq 5 --unk --minutes "$minutes" --quiet)
echo "trained $run"

# The first halves of five test poems, and how the model continues them: sampled, then by beam search.
python3 - "$folder/test.tsv" > first-halves.txt <<'PYTHON'
import csv, sys
for row in csv.DictReader(open(sys.argv[1], encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE):
    print(row["text"][: len(row["text"]) // 2])
PYTHON
head -n 5 first-halves.txt | aigc sample transformer --run "$run" --prompt - --echo --seed 1 --quiet
head -n 5 first-halves.txt | aigc sample transformer --run "$run" --prompt - --echo --beam 4 --quiet

# On test.tsv: bits per character of the second halves, with unknown words spelled, and how close greedy ones come to the originals.
aigc eval transformer --run "$run" --data "$folder" --quiet > figures.tsv
cat figures.tsv
