"""The API's description as OpenAPI 3.1: paths from the table of operations, schemas from the pydantic models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.api import answers, film_answers
from shared.api.choices import kind_of
from shared.api.forms import FORM
from shared.api.operations import JSON, Operation
from shared.options import Options
from shared.pipelines import PIPELINES
from shared.problems import MIMETYPE, PHRASES
from shared.progress import BIGGEST

Json = dict[str, Any]
REF: Final = "#/components/schemas/{model}"
SESSION: Final = "2f1c3b9e-5d0f-4c57-9d0b-0c6a4f8e7b11"
TAGS: Final = {
    "service": "What can be chosen, and whether it works.",
    "uploads": "Files become sessions.",
    "sessions": "How a session stands, its items, what was paid, who did what.",
    "results": "What came of it, also while it runs.",
    "films": "Sessions of pipeline movies.",
    "people": "People, their files, and the sheet that names them.",
    "audio": "The library of tracks that pipeline audio fills.",
    "actions": "What people may do to a session. Each is written to its audit log.",
}
# What any operation may answer.
_ALWAYS: Final = (
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_PARAMETERS: Final[Mapping[str, Json]] = {
    "session": {"schema": {"type": "string", "format": "uuid"}, "example": SESSION, "description": "A session's id."},
    "row_id": {
        "schema": {"type": "string", "pattern": r"^[!-.0-~]{1,200}$"},
        "example": "1",
        "description": "What a person is called by in their sheet's column row_id.",
    },
    "asset": {
        "schema": {"type": "string", "format": "uuid"},
        "example": "d46a0fe6-ea85-5cae-96cc-ee523ce9d766",
        "description": "A file's id.",
    },
    "item_no": {
        "schema": {"type": "integer", "minimum": 0, "maximum": BIGGEST},
        "example": 1,
        "description": "An item's number in its session.",
    },
    "track": {"schema": {"type": "string", "format": "uuid"}, "example": SESSION, "description": "A track's id."},
}
_MAX_AGE: Final[Json] = {
    "name": "Cache-Control",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "max-age=1",
    "description": "max-age=N allows an answer up to N seconds old, 5 at most; without it answers are of this moment.",
}
INTRODUCTION: Final = """Files of rows go in; every row is enriched once, paid for at most once and accounted for.

Errors are problem documents (RFC 9457). On one machine the API answers on loopback names only; in the cloud it is
private: send an identity token as bearer. Requests of other sites' pages that would change something are refused."""


def document(operations: Sequence[Operation], *, version: str) -> Json:
    """The whole description."""
    listed = [one for one in operations if one.listed]
    paths: dict[str, Json] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rowlift", "version": version, "description": INTRODUCTION},
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(listed),
            "responses": {status.name: _refusal(status) for status in PHRASES},
        },
    }


def _schemas(listed: Sequence[Operation]) -> Json:
    bodies = [one.body for one in listed if one.body is not None]
    told = [one.answer for one in listed if isinstance(one.answer, type)]
    models: list[type[BaseModel]] = [*bodies, *told, film_answers.Film, answers.ProblemDocument]
    _, found = models_json_schema([(model, "validation") for model in dict.fromkeys(models)], ref_template=REF)
    schemas: Json = found["$defs"]
    return schemas


def _operation(one: Operation) -> Json:
    found: Json = {
        "operationId": one.name,
        "tags": [one.tag],
        "summary": one.summary,
        "parameters": _parameters(one),
        "responses": {str(one.status.value): _answer(one)}
        | {str(status.value): {**_answer(one), "description": said} for status, said in one.also.items()}
        | {str(status.value): {"$ref": f"#/components/responses/{status.name}"} for status in _refusals(one)},
    }
    if one.body is not None:
        needed = any(field.is_required() for field in one.body.model_fields.values())
        found["requestBody"] = {"required": needed, "content": {JSON: {"schema": _ref(one.body)}}}
    if one.form:
        found["requestBody"] = {"required": True, "content": {FORM: {"schema": _form()}}}
    return found


def _parameters(one: Operation) -> list[Json]:
    found = [
        {"name": name, "in": "path", "required": True, **said}
        for name, said in _PARAMETERS.items()
        if f"{{{name}}}" in one.path
    ]
    if one.query is not None:
        schema = one.query.model_json_schema(ref_template=REF)
        for name, said in schema.get("properties", {}).items():
            needed = name in schema.get("required", ())
            given = {"name": name, "in": "query", "required": needed, "allowEmptyValue": not needed}
            found.append({**given, "schema": _plain(said, schema)})
    return [*found, _MAX_AGE] if one.keeps else found


def _plain(said: Json, whole: Json) -> Json:
    """A parameter's schema by itself: enums in their place, and without the null of what is left out."""
    if "anyOf" in said:
        (kind,) = [one for one in said["anyOf"] if one != {"type": "null"}]
        said = {**{name: value for name, value in said.items() if name not in ("anyOf", "default")}, **kind}
    if "$ref" in said:
        said = {**said, **whole["$defs"][said["$ref"].rpartition("/")[2]]}
    return {name: value for name, value in said.items() if name not in ("$ref", "title", "description")}


def _answer(one: Operation) -> Json:
    content: Json = {kind: {"schema": {"type": "string", "description": said}} for kind, said in one.streams.items()}
    if one.answer is not None:
        content[JSON] = {"schema": _ref(one.answer) if isinstance(one.answer, type) else dict(one.answer)}
    found: Json = {"description": one.status.phrase, "content": content}
    if one.headers:
        found["headers"] = {
            name: {"description": said, "required": False, "schema": {"type": "string"}}
            for name, said in one.headers.items()
        }
    return found


def _refusals(one: Operation) -> list[HTTPStatus]:
    found = {*_ALWAYS, *one.refuses}
    if one.query is not None or one.form:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if one.body is not None:
        found |= {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
    return sorted(found)


def _refusal(status: HTTPStatus) -> Json:
    found: Json = {
        "description": PHRASES[status],
        "content": {MIMETYPE: {"schema": _ref(answers.ProblemDocument)}},
    }
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return found


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF.format(model=model.__name__)}


def _form() -> Json:
    """An upload's form. An option that means nothing to a pipeline may not be given a meaning there."""
    file = {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1}
    return {
        "type": "object",
        "required": ["pipeline", "file"],
        "additionalProperties": False,
        "properties": {
            "pipeline": {"enum": sorted(PIPELINES)},
            "file": {"type": "array", "minItems": 1, "items": file},
            "export": {"type": "string", "maxLength": 200, "description": "Which export the files are of."},
            **{name.replace("_", "-"): _value(name) for name in Options.model_fields},
        },
        "oneOf": [{"properties": {"pipeline": {"const": slug}, **_refused(slug)}} for slug in sorted(PIPELINES)],
    }


def _refused(slug: str) -> Json:
    """What a form may not hold for a pipeline, as shared/files.py checks it."""
    if PIPELINES[slug].grouping is None:
        return {"watchlist": {"enum": ["false", ""]}, "export": {"const": ""}}
    return {"call-mode": {"enum": ["direct", ""]}}


_TEXTS: Final[Mapping[str, Json]] = {
    "budget": {"pattern": r"^([0-9]{1,9}(\.[0-9]{1,6})?)?$", "example": "2.50"},
    "max_failed": {"pattern": r"^([0-9]{1,9}|([0-9]{1,2}|100)%)?$", "example": "5%"},
    "resume": {"pattern": r"^(resume/[0-9a-z]{1,32}/[0-9A-Za-z_-]{1,100}\.jsonl)?$"},
    "session": {"pattern": r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$", "example": SESSION},
}


def _value(name: str) -> Json:
    """What an option may be in a form; a field left empty counts as not given."""
    kind, choices = kind_of(name, Options.model_fields[name])
    if kind in ("choice", "flag"):
        return {"enum": [*(choices or ("true", "false")), ""]}
    return {"type": "string", **_TEXTS.get(name, {})}
