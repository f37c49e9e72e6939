#!/usr/bin/env python3
"""Golden logits of small models of many shapes: golden/shapes.json, and
golden/hf_shapes.json for those with tokenizers of `tokenizers`.

Needs torch and transformers; tests use the committed files. Each pair of
shapes.py is scored alone, in float64: a number, or a list of one for each label.
Arguments name the shapes to make, and the others stay as they are.
"""
import json
import sys
import tempfile
from pathlib import Path

from shapes import HF_PAIRS, HF_SHAPES, PAIRS, SHAPES, make

GOLDEN = Path(__file__).parent / "golden"


def logits(shape, pairs):
    import torch
    import transformers
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        make(Path(folder), shape)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        net = transformers.AutoModelForSequenceClassification.\
            from_pretrained(folder, dtype=torch.float64,
                            attn_implementation="eager").eval()
        rows = []
        for query, passage in pairs:
            # As a batch of one: alone, an empty passage would not count.
            row = tokenizer([(query, passage)], truncation="longest_first",
                            max_length=shape.positions, return_tensors="pt")
            if shape.types == 1:
                row["token_type_ids"] = torch.zeros_like(row["input_ids"])
            values = [float(f"{logit:.9g}")
                      for logit in net(**row).logits[0].tolist()]
            rows.append(values if len(values) > 1 else values[0])
        return rows


def main():
    import transformers
    for name, shapes, pairs in (("shapes.json", SHAPES, PAIRS),
                                ("hf_shapes.json", HF_SHAPES, HF_PAIRS)):
        path = GOLDEN / name
        old = json.loads(path.read_text())["logits"] if path.exists() else {}
        made = {k: logits(s, pairs) for k, s in shapes.items()
                if k in (sys.argv[1:] or shapes)}
        golden = {"transformers": transformers.__version__,
                  "logits": {k: made.get(k, old.get(k)) for k in shapes}}
        path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
