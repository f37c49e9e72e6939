"""What sentence-transformers makes of model folders, for model_parity_test.py.

    python model_reference.py PAIRS FOLDER...

As model_driver: one JSON object a folder, from CrossEncoder itself. Needs
torch, transformers and sentence-transformers, and reaches no network."""

import json
import os
import pathlib
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.filterwarnings("ignore")


def describe(folder, pairs):
    import torch
    from sentence_transformers import CrossEncoder
    try:
        model = CrossEncoder(folder, device="cpu", local_files_only=True,
                             model_kwargs={"dtype": torch.float32})
        encoded = []
        for pair in pairs:
            features = model.preprocess([pair])
            ids = features["input_ids"][0].tolist()
            types = features.get("token_type_ids")
            types = types[0].tolist() if types is not None else [0] * len(ids)
            encoded.append(list(map(list, zip(ids, types))))
        names = model.config.id2label
        return {"status": "CR_OK",
                "labels": [names.get(i) for i in range(model.num_labels)],
                "activation": type(model.activation_fn).__name__,
                "max_length": int(model.max_seq_length), "pairs": encoded,
                "scores": [float(score)
                           for score in model.predict(pairs).ravel()]}
    except Exception as fault:  # whatever it is, this folder does not load
        return {"status": "failed",
                "message": f"{type(fault).__name__}: {fault}"[:500]}


def main():
    pairs = json.loads(pathlib.Path(sys.argv[1]).read_text())
    for folder in sys.argv[2:]:
        print(json.dumps(describe(folder, pairs)), flush=True)


if __name__ == "__main__":
    main()
