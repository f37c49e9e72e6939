"""crossrank eval against pytrec_eval: NDCG@10, MRR@10 and MAP to 1e-6, of the
first stage and of the saved run, on real collections and on random ones that
are full of ties."""

import json
import random

import pytest

pytrec_eval = pytest.importorskip("pytrec_eval")


def read_qrels(path):
    qrels = {}
    for line in path.read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    return qrels


def read_run(path):
    run = {}
    for line in path.read_text().splitlines():
        if "\t" in line:
            query, document, _, score = line.split("\t")
        else:
            query, _, document, _, score, _ = line.split()
        run.setdefault(query, {})[document] = float(score)
    return run


def means(qrels, run, depth):
    """What pytrec_eval says. MRR@10 is its recip_rank of the best 10, which
    are those that it would put first itself."""
    import numpy as np
    cut, top = {}, {}
    for query, scores in run.items():
        order = sorted(scores, key=lambda d: (np.float32(scores[d]), d),
                       reverse=True)[:depth]
        cut[query] = {d: scores[d] for d in order}
        top[query] = {d: scores[d] for d in order[:10]}
    graded = any(g > 1 for grades in qrels.values() for g in grades.values())
    values = pytrec_eval.RelevanceEvaluator(
        qrels, {"ndcg_cut.10", "map"}).evaluate(cut)
    ranks = pytrec_eval.RelevanceEvaluator(
        qrels, {"recip_rank"}, relevance_level=2 if graded else 1
    ).evaluate(top)
    n = len(values)
    return n, {
        "ndcg@10": sum(v["ndcg_cut_10"] for v in values.values()) / n,
        "mrr@10": sum(v["recip_rank"] for v in ranks.values()) / n,
        "map": sum(v["map"] for v in values.values()) / n}


def check(tiny, folder, tmp_path, depth=100):
    saved = tmp_path / "saved.trec"
    done = tiny("eval", folder, "--save", saved, "--depth", depth,
                seconds=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    qrels = read_qrels(folder / "qrels.test.tsv")
    for stage, path in (("first_stage", folder / "run.bm25.tsv"),
                        ("reranked", saved)):
        n, wanted = means(qrels, read_run(path), depth)
        assert told["queries"] == n
        assert told[stage] == pytest.approx(wanted, abs=1e-6), stage


# What the scores are does not matter here: a tiny model is enough.


def test_shipped_collection(tiny, root, tmp_path):
    check(tiny, root / "data" / "novel", tmp_path)


@pytest.mark.parametrize("depth", [7, 100])
@pytest.mark.parametrize("name", ["trec-dl19", "cranfield"])
def test_shared_collections(tiny, shared, tmp_path, name,
                            depth):
    folder = shared / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not in the shared data")
    check(tiny, folder, tmp_path, depth)


def write_collection(folder, seed):
    """Few words, so that scores tie; ids that sort differently as numbers and
    as text; grades from -1, judgements of documents that are not retrieved,
    queries with nothing relevant, unjudged and unretrieved queries."""
    rng = random.Random(seed)
    documents = [rng.choice(["", "d", "D-", "doc\u00e9"]) + str(i)
                 for i in rng.sample(range(1000), 60)]
    queries = [f"q{i}" for i in range(12)]
    top = rng.choice([1, 2, 3])
    with (folder / "corpus.jsonl").open("w") as f:
        for document in documents:
            f.write(json.dumps({
                "_id": document, "title": rng.choice(["", "p"]),
                "text": rng.choice(["p", "word", "word p", ""])}) + "\n")
    with (folder / "queries.jsonl").open("w") as f:
        for query in queries:
            f.write(json.dumps({"_id": query, "text": "q"}) + "\n")
    with (folder / "qrels.test.tsv").open("w") as f:
        f.write("query-id\tcorpus-id\tscore\n")
        for query in queries[:10]:
            for document in rng.sample(documents, rng.randrange(1, 30)):
                f.write(f"{query}\t{document}\t{rng.randint(-1, top)}\n")
    with (folder / "run.bm25.tsv").open("w") as f:
        for query in queries[2:]:
            for rank, document in enumerate(
                    rng.sample(documents, rng.randrange(1, 40)), 1):
                # Differences below a float's precision are ties too.
                score = rng.choice([1, 2, 2 + 1e-9, 0.5, -3, 16777217])
                f.write(f"{query}\t{document}\t{rank}\t{score!r}\n")


@pytest.mark.parametrize("seed", range(20))
def test_random_runs_with_ties(tiny, tmp_path, seed):
    folder = tmp_path / "collection"
    folder.mkdir()
    write_collection(folder, seed)
    check(tiny, folder, tmp_path)
