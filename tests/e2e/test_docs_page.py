"""/docs and /openapi.json: complete, and without a request that leaves the machine."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.errors import NotReady
from app.web.problems import PREDICT_ERRORS
from app.web.schemas import ModelResponse, PredictResponse


def test_the_page_loads_only_from_here(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"(https?:)?//\w", page.text)
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {asset.rsplit(".")[-1] for asset in assets} == {"js", "css", "png"}
    for asset in assets:
        assert client.get(asset).status_code == 200
    assert '"validatorUrl": null' in page.text
    styles = next(asset for asset in assets if asset.endswith(".css"))
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", client.get(styles).text)


def test_the_address_alone_is_the_page(client: TestClient) -> None:
    response = client.get("/", follow_redirects=False)
    assert response.status_code == 200 and response.text == client.get("/docs").text
    assert response.headers["content-security-policy"] == client.get("/docs").headers["content-security-policy"]


@pytest.fixture
def document(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


def test_every_route_is_described(document: Any) -> None:
    assert set(document["paths"]) == {"/predict", "/health/live", "/health/ready", "/model", "/metrics"}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["description"]


def test_routes_are_grouped_and_named_by_what_they_do(document: Any) -> None:
    groups = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert all(groups.values())
    operations = {path: operation for path, methods in document["paths"].items() for operation in methods.values()}
    assert {tag for operation in operations.values() for tag in operation["tags"]} == set(groups)
    for path, operation in operations.items():
        assert len(operation["tags"]) == 1
        assert len(operation["summary"].split()) >= 3, f"{path}: the framework's default is the function's name"
        assert operation["responses"]["200"]["description"] != "Successful Response"


def test_the_scales_are_explained(document: Any) -> None:
    for field, ends in {"arousal": ("calm", "excited"), "valence": ("negative", "positive")}.items():
        described = document["components"]["schemas"]["PredictResponse"]["properties"][field]["description"]
        (row,) = (line for line in document["info"]["description"].splitlines() if line.startswith(f"| `{field}` "))
        for text in (described, row):
            assert all(end in text for end in ends)
        assert f"| 1 ({ends[0]}) to 5 ({ends[1]}) |" in row  # of the served model


def test_every_field_of_a_body_is_described(document: Any) -> None:
    schemas = document["components"]["schemas"]
    problem = document["paths"]["/model"]["get"]["responses"]["503"]["content"]["application/problem+json"]["schema"]
    own = {"request_id": schemas["PredictResponse"]["properties"]["request_id"], **problem["properties"]}
    own |= schemas["ModelResponse"]["properties"]
    assert [name for name, field in own.items() if not field.get("description")] == []


def test_the_form_offers_a_file_and_a_text(document: Any) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert next(iter(content)) == "multipart/form-data"  # the one that the page offers first
    schema = content["multipart/form-data"]["schema"]
    form = document["components"]["schemas"][schema["$ref"].rsplit("/")[-1]]["properties"]
    assert (form["audio"]["type"], form["audio"]["format"]) == ("string", "binary")
    assert form["transcript"]["type"] == "string" and form["transcript"]["examples"]
    assert all(field["description"] for field in form.values())


def test_json_and_urlencoded_bodies_are_described(document: Any) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    in_json = content["application/json"]["schema"]
    assert set(in_json["properties"]) == {"audio", "transcript", "channel"}
    assert in_json["properties"]["audio"]["contentEncoding"] == "base64"
    urlencoded = content["application/x-www-form-urlencoded"]["schema"]
    assert set(urlencoded["properties"]) == {"transcript"}
    for schema in (in_json, urlencoded):
        assert schema["additionalProperties"] is False
        assert all(field["description"] for field in schema["properties"].values())


def test_the_example_of_a_json_body_is_answered(client: TestClient, document: Any) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert client.post("/predict", json=content["application/json"]["example"]).status_code == 200


def test_the_answers_have_complete_examples(document: Any) -> None:
    schema = document["components"]["schemas"]["PredictResponse"]
    assert set(schema["examples"][0]) == set(schema["properties"]) == set(schema["required"])
    PredictResponse.model_validate(schema["examples"][0])
    ModelResponse.model_validate(document["components"]["schemas"]["ModelResponse"]["examples"][0])


def test_every_failure_has_an_example(document: Any) -> None:
    expected = {"/predict": PREDICT_ERRORS, "/health/ready": (NotReady,), "/model": (NotReady,)}
    for path, errors in expected.items():
        (operation,) = document["paths"][path].values()
        for error in errors:
            content = operation["responses"][str(error.status)]["content"]
            example = content["application/problem+json"]["examples"][error.code]["value"]
            assert example["code"] == error.code and example["detail"]
            assert set(example) == set(content["application/problem+json"]["schema"]["required"])


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=999999999-", "bytes=9-1", "pages=1", "bytes=0-0,-1,", ""])
def test_a_file_is_sent_whole_whatever_range_is_asked_for(client: TestClient, asked: str) -> None:
    """In place of refusals that are no problem documents."""
    path = "/static-offline-docs/favicon.png"
    whole = client.get(path)
    ranged = client.get(path, headers={"Range": asked})
    assert (ranged.status_code, ranged.content) == (200, whole.content)
    assert "accept-ranges" not in ranged.headers
    assert client.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
