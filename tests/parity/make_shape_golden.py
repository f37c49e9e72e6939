#!/usr/bin/env python3
"""Golden logits of small models of many shapes: golden/shapes.json.

Needs torch and transformers; tests use the committed file. Each pair of
shapes.py is scored alone, in float64.
"""
import json
import tempfile
from pathlib import Path

from shapes import PAIRS, SHAPES, make


def main():
    import torch
    import transformers
    golden = {"transformers": transformers.__version__, "logits": {}}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            make(Path(folder), shape)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            net = transformers.AutoModelForSequenceClassification.\
                from_pretrained(folder, dtype=torch.float64,
                                attn_implementation="eager").eval()
            rows = []
            for query, passage in PAIRS:
                # As a batch of one: alone, an empty passage would not count.
                row = tokenizer([(query, passage)], truncation="longest_first",
                                max_length=shape.positions,
                                return_tensors="pt")
                if shape.types == 1:
                    row["token_type_ids"] = torch.zeros_like(row["input_ids"])
                rows.append(float(f"{net(**row).logits.item():.9g}"))
            golden["logits"][name] = rows
    path = Path(__file__).parent / "golden" / "shapes.json"
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
