"""The one table of what the API does: requests are routed by it, and /openapi.json is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from shared.api import answers, film_answers, item_answers, requests
from shared.api import audio as tracks
from shared.api.acting import Acting
from shared.api.asking import Handler
from shared.api.pages import Pages
from shared.api.people import People
from shared.api.reading import Reading
from shared.api.streaming import JSON_LINES, Streaming
from shared.audio.kinds import CONTENT_TYPES
from shared.audio.pictures import CONTENT_TYPES as PICTURE_TYPES

ONE: Final = "/api/session/{session}"
JSON: Final = "application/json"
CSV: Final = "text/csv"
NOT_FOUND, CONFLICT, GONE = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE
KEPT: Final = (NOT_FOUND, GONE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Operation:
    """One thing the API does, and all that is said of it."""

    name: str
    tag: str
    summary: str
    path: str
    handle: Handler
    method: str = "GET"
    query: type[requests.Query] | None = requests.NoQuery  # None: whatever stands there is passed over
    body: type[requests.Body] | None = None
    form: bool = False  # whether it takes files as a form
    status: HTTPStatus = HTTPStatus.OK
    answer: type[BaseModel] | Mapping[str, Any] | None = None  # its JSON: of a model, or any of a schema
    streams: Mapping[str, str] = field(default_factory=dict)  # other media types it answers in, and what stands there
    headers: Mapping[str, str] = field(default_factory=dict)  # of its answer, and what they say
    also: Mapping[HTTPStatus, str] = field(default_factory=dict)  # other good ends, and what they say
    refuses: Sequence[HTTPStatus] = ()  # beside those every operation may
    keeps: bool = False  # whether its answer may be some seconds old, if the request says so
    listed: bool = True

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return self.method == "POST"


def operations(
    reading: Reading,
    streaming: Streaming,
    acting: Acting,
    people: People,
    library: tracks.Library,
    pages: Pages,
) -> tuple[Operation, ...]:
    """Everything the API does, in the order people read it."""
    return (
        *_service(reading, pages),
        *_uploads(acting),
        *_sessions(reading),
        *_results(streaming),
        *_films(reading, acting),
        *_people(people),
        *_tracks(library),
        *_actions(acting),
    )


def _service(reading: Reading, pages: Pages) -> tuple[Operation, ...]:
    health: dict[str, Any] = {
        "tag": "service", "summary": "Whether the database answers", "handle": reading.health, "answer": answers.Health,
    }  # fmt: skip
    page: dict[str, Any] = {"tag": "service", "query": None, "listed": False}
    return (
        Operation(name="dashboard", summary="The dashboard", path="/", handle=pages.index, **page),
        Operation(
            name="dashboard_file", summary="A file of it", path="/dashboard/{name}", handle=pages.file,
            refuses=(NOT_FOUND,), **page,
        ),
        Operation(name="health", path="/api/health", **health),
        Operation(name="health_elsewhere", path="/health", listed=False, **health),  # Cloud Run answers it itself
        Operation(
            name="pipelines", tag="service", summary="What can be chosen for an upload", path="/api/pipelines",
            handle=reading.pipelines, answer=answers.Choices,
        ),
    )  # fmt: skip


def _uploads(acting: Acting) -> tuple[Operation, ...]:
    place = {"Location": "The path of the session."}
    return (
        Operation(
            name="upload", tag="uploads", summary="Upload files through the API", path="/api/upload", method="POST",
            handle=acting.upload, query=None, form=True, status=HTTPStatus.ACCEPTED, answer=answers.Uploaded,
            headers=place,
            refuses=(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ),
        Operation(
            name="upload_link", tag="uploads", summary="Upload a Google Sheet by its link", path="/api/upload/link",
            method="POST", handle=acting.upload_link, body=requests.LinkBody, status=HTTPStatus.ACCEPTED,
            answer=answers.Uploaded, headers=place,
        ),
        Operation(
            name="upload_direct", tag="uploads", summary="Prepare files to go straight to the bucket",
            path="/api/upload/direct", method="POST", handle=acting.upload_direct, body=requests.DirectBody,
            status=HTTPStatus.CREATED, answer=answers.DirectUpload, headers=place, refuses=(CONFLICT,),
        ),
    )  # fmt: skip


def _sessions(reading: Reading) -> tuple[Operation, ...]:
    return tuple(
        Operation(tag="sessions", **said)
        for said in (
            _read("sessions", "The newest sessions", "/api/sessions", reading.newest, answers.SessionsPage,
                  query=requests.SessionsQuery, refuses=(NOT_FOUND,), keeps=True),
            _read("session", "A session with its options and files", ONE, reading.session, answers.Session),
            _read("status", "How a session stands", f"{ONE}/status", reading.status, answers.Status, keeps=True),
            _read("progress", "What was settled over time", f"{ONE}/progress", reading.progress, answers.Progress,
                  keeps=True),
            _read("errors", "What went wrong, in groups", f"{ONE}/errors", reading.errors, answers.Errors,
                  refuses=KEPT, keeps=True),
            _read("items", "A session's items, a page at a time", f"{ONE}/items", reading.items, item_answers.ItemsPage,
                  query=requests.ItemsQuery, refuses=KEPT),
            _read("item", "One item with its earlier rounds and its calls", f"{ONE}/items/{{item_no}}", reading.item,
                  item_answers.ItemWithHistory, refuses=KEPT),
            _read("calls", "What was paid, and that nothing was paid twice", f"{ONE}/calls", reading.calls,
                  item_answers.PaymentWithCalls, query=requests.CallsQuery),
            _read("verify", "Whether a session keeps the invariants", f"{ONE}/verify", reading.verify,
                  item_answers.Verified),
            _read("resumed", "What was found in the results a session went on from", f"{ONE}/resumed",
                  reading.resumed, answers.ResumedPage, query=requests.ResumedQuery, refuses=KEPT),
            _read("audit", "Who did what to a session", f"{ONE}/audit", reading.audit, answers.Audit),
        )
    )  # fmt: skip


def _results(streaming: Streaming) -> tuple[Operation, ...]:
    return (
        Operation(
            name="results", tag="results", summary="Settled items, at any time", path=f"{ONE}/results",
            handle=streaming.results, query=requests.ResultsQuery, refuses=(*KEPT, CONFLICT),
            streams={JSON_LINES: "One JSON object a line.", CSV: "With format=csv: a header line, then the rows."},
            headers={
                "Rowlift-Next": "With a cursor of settle order: the one to go on from.",
                "Rowlift-Final": "With it: whether nothing will come after that (true or false).",
                "Content-Disposition": "With format=csv: a name for the file.",
            },
        ),
        Operation(
            name="rejects", tag="results", summary="Rejected rows, to be mended and uploaded again",
            path=f"{ONE}/rejects", handle=streaming.rejects, query=requests.RejectsQuery, refuses=KEPT,
            streams={CSV: "The user's own columns, then reason, column and line."},
            headers={"Content-Disposition": "A name by which the file finds back to its session."},
        ),
        Operation(
            name="manifest", tag="results", summary="manifest.json, once the session has ended",
            path=f"{ONE}/manifest", handle=streaming.manifest, refuses=(*KEPT, CONFLICT),
            answer={"type": "object", "required": ["session_id", "pipeline", "options", "counts", "total", "files"]},
        ),
    )  # fmt: skip


def _films(reading: Reading, acting: Acting) -> tuple[Operation, ...]:
    films = {"type": "array", "items": {"$ref": "#/components/schemas/Film"}}
    shown: Any = (*KEPT, CONFLICT)
    return (
        Operation(
            name="movies", tag="films", summary="A session's films, sorted and filtered", path=f"{ONE}/movies",
            handle=reading.movies, query=requests.MoviesQuery, answer=films, refuses=shown,
            headers={"X-Total-Count": "How many films there are on all pages.", "Link": "Where the next page is."},
        ),
        Operation(
            name="movies_summary", tag="films", summary="Films by year, rating and genre",
            path=f"{ONE}/movies/summary", handle=reading.movies_summary, answer=film_answers.FilmsSummary,
            refuses=shown, keeps=True,
        ),
        Operation(
            name="movie", tag="films", summary="One film with its diary, reviews and candidates",
            path=f"{ONE}/movies/{{item_no}}", handle=reading.movie, answer=film_answers.WholeFilm, refuses=shown,
        ),
        Operation(
            name="match", tag="films", summary="Say which film of TMDB's an item's is",
            path=f"{ONE}/items/{{item_no}}/match", method="POST", handle=acting.match, body=requests.MatchBody,
            answer=answers.Matched, refuses=shown,
        ),
    )  # fmt: skip


def _people(people: People) -> tuple[Operation, ...]:
    tag: Any = {"tag": "people", "refuses": (NOT_FOUND,)}
    return (
        Operation(
            name="person_assets", summary="A person's files", path="/api/people/{row_id}/assets",
            handle=people.assets, query=requests.AssetsQuery, answer=answers.Person, **tag,
        ),
        Operation(
            name="bring_asset", summary="Say that the media bucket holds a file which a sheet lists",
            path="/api/people/{row_id}/assets", method="POST", handle=people.bring, body=requests.BroughtBody,
            answer=answers.Brought, **{**tag, "refuses": (NOT_FOUND, CONFLICT)},
        ),
        Operation(
            name="asset_file", summary="The bytes of a file", path="/api/assets/{asset}/file", handle=people.file,
            streams={"application/octet-stream": "The file; ranges can be asked for. Elsewhere: 302 to the bucket."},
            headers={"Content-Disposition": "The file's name."},
            **{**tag, "refuses": (NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)},
        ),
        Operation(
            name="assets_csv", summary="The enhanced sheet, rebuilt from the database", path="/api/assets.csv",
            handle=people.sheet, query=requests.SheetQuery, streams={CSV: "The sheet's own columns and rows."},
            headers={"Content-Disposition": "A name for the file."}, **{**tag, "refuses": (NOT_FOUND, CONFLICT)},
        ),
    )  # fmt: skip


def _tracks(library: tracks.Library) -> tuple[Operation, ...]:
    sound = dict.fromkeys(sorted({*CONTENT_TYPES.values()}), "The sound, or with a Range header part of it.")
    sound["application/octet-stream"] = "The same, of a kind that is not known."
    cover = dict.fromkeys(sorted({*PICTURE_TYPES.values()}), "A picture.")
    return (
        Operation(
            name="tracks", tag="audio", summary="All tracks, a page at a time", path="/api/audio",
            handle=library.tracks, query=tracks.TracksQuery, answer=tracks.TracksPage,
        ),
        Operation(
            name="search_tracks", tag="audio", summary="Tracks by words of title, artist, album or genre",
            path="/api/audio/search", handle=library.search, query=tracks.TrackSearchQuery, answer=tracks.FoundTracks,
        ),
        Operation(
            name="track", tag="audio", summary="One track", path="/api/audio/{track}", handle=library.track,
            answer=tracks.Track, refuses=(NOT_FOUND,),
        ),
        Operation(
            name="track_sound", tag="audio", summary="Its sound, by ranges", path="/api/audio/{track}/sound",
            handle=library.sound, streams=sound, refuses=(NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
            also={HTTPStatus.FOUND: "Where the bucket itself gives it.",
                  HTTPStatus.PARTIAL_CONTENT: "A piece of the range that was asked for, a megabyte at most."},
            headers={"Accept-Ranges": "bytes", "Content-Disposition": "Its file's name."},
        ),
        Operation(
            name="track_cover", tag="audio", summary="Its cover", path="/api/audio/{track}/cover",
            handle=library.cover, streams=cover, refuses=(NOT_FOUND,),
        ),
    )  # fmt: skip


def _actions(acting: Acting) -> tuple[Operation, ...]:
    done: Any = {"tag": "actions", "method": "POST", "answer": answers.Status}
    return (
        Operation(
            name="pause", summary="Stop handing out items", path=f"{ONE}/pause", handle=acting.pause,
            body=requests.PauseBody, refuses=(NOT_FOUND, CONFLICT), **done,
        ),
        Operation(
            name="resume", summary="Go on", path=f"{ONE}/resume", handle=acting.resume, body=requests.ResumeBody,
            refuses=(*KEPT, CONFLICT), **done,
        ),
        Operation(
            name="cancel", summary="End a session for good", path=f"{ONE}/cancel", handle=acting.cancel,
            body=requests.NoBody, refuses=(*KEPT, CONFLICT), **done,
        ),
        Operation(
            name="approve", summary="Let a quoted session start", path=f"{ONE}/approve", handle=acting.approve,
            body=requests.NoBody, refuses=(*KEPT, CONFLICT), **done,
        ),
        Operation(
            name="reprocess", summary="Run settled items again", path=f"{ONE}/reprocess", handle=acting.reprocess,
            body=requests.ReprocessBody, refuses=(*KEPT, CONFLICT), **{**done, "answer": answers.Reprocessed},
        ),
    )  # fmt: skip


def _read(name: str, summary: str, path: str, handle: Handler, answer: type[BaseModel], **more: Any) -> dict[str, Any]:
    return {"name": name, "summary": summary, "path": path, "handle": handle, "answer": answer,
            "refuses": (NOT_FOUND,), **more}  # fmt: skip
