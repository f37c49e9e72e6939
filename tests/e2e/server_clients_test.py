"""Other people's clients, unchanged but for their URL, each ranking the same
documents, and the code of docs/CLIENTS.md as it stands. Last, schemathesis asks
whatever docs/openapi.json allows. They bring a hundred packages, which
`./run clients` installs in a place of their own."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from serve import Server

for name in ("cohere", "huggingface_hub", "infinity_client",
             "langchain_cohere", "litellm", "llama_index",
             "haystack_integrations", "schemathesis"):
    pytest.importorskip(
        name, reason=f"{name} is not installed: ./run clients does it all")

QUERY = "what is the capital of italy"
DOCUMENTS = ["Tea is a drink.", "Rome is the capital of Italy.",
             "The capital of France is Paris."]
ORDER = [1, 2, 0]


@pytest.fixture(scope="module")
def server(build, slower):
    s = Server(build / "crossrank", slower)
    yield s
    assert s.stop() == 0, s.log


@pytest.fixture(scope="module")
def infinity(build, slower):
    s = Server(build / "crossrank", slower, rerank_documents="string")
    yield s
    assert s.stop() == 0, s.log


def check(results, top_n=3):
    """results: (index, score) as the client gives them."""
    results = list(results)
    assert [index for index, _ in results] == ORDER[:top_n]
    scores = [score for _, score in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
def test_cohere(server, version):
    import cohere
    client = getattr(cohere, version)(api_key="none", base_url=server.address)
    got = client.rerank(model="any", query=QUERY, documents=DOCUMENTS,
                        top_n=2)
    check(((r.index, r.relevance_score) for r in got.results), 2)
    assert got.meta.billed_units.search_units == 1
    with pytest.raises(cohere.errors.UnprocessableEntityError):
        client.rerank(model="any", query=QUERY, documents=[])


def test_cohere_documents(server):
    import cohere
    client = cohere.Client(api_key="none", base_url=server.address)
    got = client.rerank(query=QUERY, return_documents=True,
                        documents=[{"text": d} for d in DOCUMENTS])
    assert [r.document.text for r in got.results] == \
        [DOCUMENTS[i] for i in ORDER]


@pytest.mark.parametrize("provider, base", [
    ("cohere", "/v1/rerank"), ("jina_ai", "/v1/rerank"),
    ("infinity", ""), ("huggingface", ""), ("hosted_vllm", "")])
def test_litellm(server, infinity, provider, base):
    address = (infinity if provider == "infinity" else server).address
    import litellm
    got = litellm.rerank(model=f"{provider}/any", query=QUERY,
                         documents=DOCUMENTS, top_n=3, api_key="none",
                         api_base=address + base)
    check((r["index"], r["relevance_score"]) for r in got.results)


def test_langchain_cohere(server):
    import cohere
    import langchain_cohere as langchain
    reranker = langchain.CohereRerank(
        client=cohere.ClientV2(api_key="none", base_url=server.address),
        cohere_api_key="none", model="any", top_n=3)
    got = reranker.rerank(DOCUMENTS, QUERY)
    check((r["index"], r["relevance_score"]) for r in got)


def test_llama_index_tei(server):
    from llama_index.postprocessor import tei_rerank as module
    from llama_index.core import schema as schema
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=d))
             for d in DOCUMENTS]
    reranker = module.TextEmbeddingInference(base_url=server.address, top_n=3)
    got = reranker.postprocess_nodes(nodes, query_str=QUERY)
    check((DOCUMENTS.index(n.node.get_content()), n.score) for n in got)


def test_haystack_cohere(server):
    from haystack_integrations.components.rankers import cohere as module
    import haystack
    from haystack import utils as utils
    ranker = module.CohereRanker(
        model="any", api_base_url=server.address, top_k=3,
        api_key=utils.Secret.from_token("none"))
    got = ranker.run(query=QUERY, documents=[
        haystack.Document(content=d) for d in DOCUMENTS])
    check((DOCUMENTS.index(d.content), d.score) for d in got["documents"])


def test_infinity_client(infinity):
    import infinity_client as module
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput
    client = module.Client(base_url=infinity.address)
    got = rerank.sync(client=client, body=RerankInput(
        query=QUERY, documents=DOCUMENTS, return_documents=False))
    check((r.index, r.relevance_score) for r in got.results)


def test_huggingface_hub(server):
    """It has no call for reranking: what it asks an endpoint is answered."""
    from huggingface_hub import InferenceClient
    client = InferenceClient(model=server.address, provider="hf-inference")
    assert client.get_endpoint_info()["model_id"] == "crossrank-minilm-l6"


def test_the_code_of_the_documentation(server, infinity, root):
    text = (root / "docs/CLIENTS.md").read_text()
    text = text.replace("http://127.0.0.1:8080", server.address)
    text = text.replace("http://127.0.0.1:8081", infinity.address)
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 8
    names = {}
    for language, code in blocks:
        names.pop("order", None)
        if language == "sh":
            subprocess.run(["sh", "-euc", code], check=True, timeout=60)
        else:
            exec(code, names)
            assert names.get("order", ORDER) in (ORDER, ORDER[:2]), code


@pytest.mark.parametrize("phase, checks", [
    ("coverage", []),  # sends unknown headers too, which are to be ignored
    ("fuzzing", ["negative_data_rejection"])])
def test_schemathesis(server, tmp_path, phase, checks):
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    checks = ["not_a_server_error", "status_code_conformance",
              "content_type_conformance", "response_schema_conformance",
              "response_headers_conformance", *checks]
    done = subprocess.run(
        [program, "run", server.address + "/openapi.json",
         "--max-examples", os.environ.get("CROSSRANK_EXAMPLES", "20"),
         "--exclude-path", "/admin/reload", "--phases", phase, "--seed", "1",
         # A millisecond is allowed, and answered with 504.
         "--header", "X-Request-Timeout-Ms: 60000",
         "--checks", ",".join(checks)],
        capture_output=True, timeout=300 * server.slower, cwd=tmp_path)
    assert done.returncode == 0, done.stdout.decode()[-20000:]
