#!/usr/bin/env python3
"""Golden logits: what transformers gives for every candidate of a BEIR folder.

    make_golden.py MODEL FOLDER OUT.tsv [--max-length 512]

Needs torch and transformers (about 6 GB), so tests use the committed files
and this script makes them anew. One line a candidate of FOLDER/run.bm25.tsv:
query id, document id, logit in float64 and in float32 arithmetic. The text of
the pairs is not written. Each pair is scored alone, without padding.
"""
import argparse
import json
from pathlib import Path


def read_jsonl(path):
    with open(path, encoding="utf-8") as f:
        return {r["_id"]: r for r in map(json.loads, f)}


def passage_of(row):
    title = row.get("title") or ""
    return f"{title} {row['text']}" if title else row["text"]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("model")
    ap.add_argument("folder", type=Path)
    ap.add_argument("out", type=Path)
    ap.add_argument("--max-length", type=int, default=512)
    a = ap.parse_args()

    import torch
    import transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model)
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    nets = [load(a.model, dtype=t, attn_implementation="eager").eval()
            for t in (torch.float64, torch.float32)]

    corpus = read_jsonl(a.folder / "corpus.jsonl")
    queries = read_jsonl(a.folder / "queries.jsonl")
    run = [line.split("\t")[:2]
           for line in open(a.folder / "run.bm25.tsv", encoding="utf-8")]
    if run[0][0] not in queries:  # a header
        run = run[1:]
    with open(a.out, "w", encoding="utf-8") as out, torch.inference_mode():
        print(f"# query\tdocument\tfloat64\tfloat32\t(transformers "
              f"{transformers.__version__}, torch {torch.__version__}, "
              f"max_length {a.max_length})", file=out)
        for qid, docid in run:
            # As a batch of one: alone, an empty passage would not count.
            row = tokenizer([(queries[qid]["text"], passage_of(corpus[docid]))],
                            truncation="longest_first",
                            max_length=a.max_length, return_tensors="pt")
            logits = [net(**row).logits.item() for net in nets]
            print(qid, docid, *(f"{x:.9g}" for x in logits), sep="\t", file=out)


if __name__ == "__main__":
    main()
