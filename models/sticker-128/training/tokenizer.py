"""A small tokenizer in CLIP's file layout: 256 bytes, 256 bytes that end a word, merges, two specials."""

import json
import os

BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def byte_alphabet():
    """CLIP's printable stand-ins for bytes, in CLIP's vocabulary order."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def merge_pair(piece, a, b):
    out, i = [], 0
    while i < len(piece):
        if piece[i : i + 2] == (a, b):
            out.append(a + b)
            i += 2
        else:
            out.append(piece[i])
            i += 1
    return tuple(out)


def learn_merges(words, wanted):
    """Byte-pair merges over distinct words, most frequent pair first, ties in alphabetical order."""
    pieces = {tuple(w[:-1]) + (w[-1] + "</w>",): 1 for w in words if w.isascii()}
    merges = []
    while len(merges) < wanted:
        count = {}
        for piece in pieces:
            for pair in zip(piece, piece[1:]):
                count[pair] = count.get(pair, 0) + 1
        if not count:
            break
        best = max(sorted(count), key=count.get)
        merges.append(best)
        pieces = {merge_pair(piece, *best): 1 for piece in pieces}
    return merges


def make_tokenizer(folder, words, merges_wanted):
    """Writes the four files; returns the size of the vocabulary."""
    os.makedirs(folder, exist_ok=True)
    merges = learn_merges(words, merges_wanted)
    letters = byte_alphabet()
    vocab = letters + [c + "</w>" for c in letters] + [a + b for a, b in merges] + [BOS, EOS]
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    config = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "errors": "replace"}
    with open(f"{folder}/vocab.json", "w") as f:
        json.dump({v: i for i, v in enumerate(vocab)}, f, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    with open(f"{folder}/tokenizer_config.json", "w") as f:
        json.dump({**special, **config}, f, indent=1)
    with open(f"{folder}/special_tokens_map.json", "w") as f:
        json.dump(special, f, indent=1)
    return len(vocab)
