"""docs/openapi.json is what the server serves, and names every route it has."""

import json
import re

import pytest

from serve import Server

# Routes for people: the page and what it loads.
PAGES = re.compile(r"/$|/dashboard|/favicon")


@pytest.fixture(scope="module")
def document(root):
    return json.loads((root / "docs/openapi.json").read_text())


def routes_of_the_source(root):
    """The table in service.c; every route it has is made there."""
    text = (root / "src/server/service.c").read_text()
    table = text[text.index("ROUTES[] = {"):text.index("enum { N_ROUTES")]
    found = re.findall(r'\.method = "(\w+)",\s*\.path = "([^"]+)"', table)
    assert len(found) == table.count(".method")
    return set(found)


def routes_of_the_document(document):
    return {(method.upper(), path) for path, methods in
            document["paths"].items() for method in methods}


def test_every_route_is_in_the_document(root, document):
    have = routes_of_the_source(root)
    named = routes_of_the_document(document)
    assert named - have == set()
    assert {(method, path) for method, path in have - named
            if method == "POST" or not PAGES.match(path)} == set()


def test_every_header_of_ours_is_in_the_document(root, document):
    read = {name for path in (root / "src/server").glob("*.c")
            for name in re.findall(r'_exchange_header\(\s*[^,"]+,\s*"(X-[^"]+)"\)',
                                   path.read_text())}
    assert len(read) >= 4
    named = {p["name"] for p in document["components"]["parameters"].values()}
    named |= {s.get("name")
              for s in document["components"]["securitySchemes"].values()}
    assert read <= named


def test_the_document_is_served(build, slower, crossrank, document):
    s = Server(build / "crossrank", slower)
    assert s.get("/openapi.json").json == document
    for method, path in routes_of_the_document(document):
        if path == "/stats/stream":  # which never ends
            continue
        assert s.ask(method, path, b"").status not in (404, 405), path
    assert s.stop() == 0
    version = crossrank("--version").stdout.decode()
    assert document["info"]["version"] in version


def test_references_lead_somewhere(document):
    for name in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        at = document
        for part in name.split("/"):
            at = at[part]
