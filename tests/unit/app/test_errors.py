"""The tree of failures: complete, stable, and drawn as it is."""

import re

import app.errors
from app.errors import HeadersTooLarge, InferenceFailed, MaeumError, traceback_without_values
from app.web.connection import MAX_HEADER_BYTES
from app.web.problems import PREDICT_ERRORS, openapi_responses


def _leaves(kind: type[MaeumError] = MaeumError) -> list[type[MaeumError]]:
    return [leaf for child in kind.__subclasses__() for leaf in _leaves(child)] or [kind]


def test_every_leaf_is_complete_and_its_code_its_own() -> None:
    leaves = _leaves()
    assert len({leaf.code for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert 400 <= leaf.status < 600
        assert leaf.title and str(leaf()).endswith(".")
        assert str(leaf("Another sentence.")) == "Another sentence."


def test_no_sentence_names_a_limit_that_can_be_set() -> None:
    """The sentence of a class is shown in the documentation and where the raiser knows no more, whatever is set."""
    limit = re.compile(r"\d+ (s|seconds|k?B|MB|bytes|characters|channels)\b")
    named = {leaf for leaf in _leaves() if limit.search(leaf.sentence)}
    assert named == {HeadersTooLarge}
    assert f"{MAX_HEADER_BYTES:,} bytes" in HeadersTooLarge.sentence


def test_the_drawing_shows_every_class_and_code() -> None:
    drawing = app.errors.__doc__ or ""
    assert all(f" {leaf.__name__} " in drawing and leaf.code in drawing for leaf in _leaves())


def test_the_openapi_answers_have_an_example_of_each() -> None:
    responses = openapi_responses(*PREDICT_ERRORS)
    assert set(responses) == {408, 413, 415, 422, 429, 500, 503, 504}
    for error in PREDICT_ERRORS:
        example = responses[error.status]["content"]["application/problem+json"]["examples"][error.code]["value"]
        assert (example["code"], example["status"]) == (error.code, error.status)


def test_a_traceback_without_values_says_where_and_not_what() -> None:
    try:
        try:
            int("a private transcript")
        except ValueError as error:
            raise InferenceFailed from error
    except InferenceFailed as error:
        text = traceback_without_values(error)
    assert "InferenceFailed" in text and "ValueError" in text and "test_errors.py" in text
    assert "invalid literal" not in text
