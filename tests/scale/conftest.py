"""Fixtures of the tests of bulk scoring."""

import importlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

@pytest.fixture(scope="session")
def bulk(build, slower):
    from bulk import Bulk
    # Sockets of Ray have names of a limited length.
    home = pathlib.Path(tempfile.mkdtemp(prefix="crossrank-"))
    yield Bulk(build, home, slower)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def package(bulk):
    from bulk import BINDING
    sys.path.insert(0, str(BINDING))
    os.environ["CROSSRANK_LIBRARY"] = bulk.environment["CROSSRANK_LIBRARY"]
    os.environ.pop("CROSSRANK_MODEL", None)
    return importlib.import_module("crossrank")


@pytest.fixture(scope="session")
def texts(root):
    """(query, passage) of real ones."""
    def rows(name):
        with open(root / "data/novel" / name) as file:
            return [json.loads(line)["text"] for line in file]
    queries, passages = rows("queries.jsonl"), rows("corpus.jsonl")
    return [(queries[i % len(queries)], passage)
            for i, passage in enumerate(passages)]
