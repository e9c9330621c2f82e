"""Ids of Hugging Face's BertTokenizer by its options of case, on the texts of cases.json.

python cased.py DIR
DIR has vocab.txt and cases.json as generate.py writes them, and gets cased.json and cased.tokenizer.json.
"""

import json
import sys
import tempfile
from pathlib import Path

from transformers import BertTokenizer

OPTIONS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": False, "strip_accents": True},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "tokenize_chinese_chars": False},
]


def main():
    folder = Path(sys.argv[1])
    pieces = (folder / "vocab.txt").read_text("utf8").split("\n")[:-1]
    texts = [case["text"] for case in json.loads((folder / "cases.json").read_text("utf8"))["texts"]]
    # Letters as they stand, so that case and accents show in the ids.
    letters = sorted({c for text in texts for c in text if c.isalpha() and ord(c) < 0x3400})
    extra = [p for c in letters for p in (c, "##" + c)] + ["What", "Red", "CAF\u00c9", "caf\u00e9"]
    pieces += [p for p in extra if p not in set(pieces)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    cases = []
    for options in OPTIONS:
        t = BertTokenizer(vocab, **options)
        cases.append({"options": options, "ids": [t([text], add_special_tokens=False, split_special_tokens=True).input_ids[0] for text in texts]})
        if options == {"do_lower_case": False}:
            with tempfile.TemporaryDirectory() as saved:
                t.save_pretrained(saved)
                (folder / "cased.tokenizer.json").write_text(json.dumps(json.loads((Path(saved) / "tokenizer.json").read_text("utf8")), separators=(",", ":")) + "\n", "utf8")
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (folder / "cased.json").write_text('{"pieces":' + json.dumps(pieces, separators=(",", ":")) + ',\n"cases": [\n' + lines + "\n]}\n", "utf8")
    print(len(pieces), [sum(map(len, case["ids"])) for case in cases])


main()
