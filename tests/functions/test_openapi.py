"""The API against its own description: schemathesis asks all it allows and much it does not, of real sessions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from shared.audio.tracks import save_audio_metadata
from shared.config import parse_database_url
from shared.db import Database, connector
from tests import sounds
from tests.assets import FILE, VIDEO, assets_bench, basic
from tests.conftest import ROOT, _administer
from tests.fakes import FakeStore
from tests.functions.running import Running
from tests.movies import movies_bench, zipped
from tests.workbench import Workbench, artist_id, artists_csv

SECONDS = 600  # it takes 15 on two cores that do nothing else
SONG = "first-light.mp3"
HEADER = "Date,Name,Year,Letterboxd URI"


@pytest.fixture(scope="module")
def running(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The API alone, on a database of this module's own."""
    name = f"openapi_{os.getpid()}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template")
    api = Running(tmp_path_factory.mktemp("openapi"), server.replace("/template", f"/{name}"))
    api.functions = ("api",)
    try:
        api.start()
        yield api
    finally:
        api.stop()
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def sessions(running: Running, server: str) -> list[UUID]:
    """Sessions there: one of artists that ended in every way, one of films, one of people, three that wait."""
    url = server.replace("/template", f"/openapi_{os.getpid()}")
    database = Database(connector(parse_database_url(url)), size=4)
    bench = Workbench(db=database, url=url)
    films, people = movies_bench(bench), assets_bench(bench)
    media = running.plan.topology.bucket_names()["MEDIA_BUCKET"]
    track = {"audio_path": f"gs://{media}/{SONG}", "title": "First Light", "year": 2019, "format": "mp3"}
    save_audio_metadata(database, track)
    _put(running, media, SONG, sounds.mp3(1))
    try:
        made = [ended_in_every_way(bench), _films(films), bench.drop(artists_csv(3), "artists/open.csv"),
                bench.drop(artists_csv(3), "artists/quoted.csv", approve="ask"),
                bench.drop(artists_csv(3), "artists/held.csv"), people.drop(basic(VIDEO, FILE, ""))]  # fmt: skip
        people.run(made[-1])
    finally:
        database.close()
    for store in (bench.store, films.store, people.store):
        _put_manifests(running, store)
    return made


def ended_in_every_way(bench: Workbench) -> UUID:
    """A session of artists whose items ended in every way that artists can."""
    rows = b"artist_id,artist_name,artist_data\r\nno-id,=1+1,\r\n" + artists_csv(9).split(b"\r\n", 1)[1]
    session = bench.drop(rows + f"{artist_id(1)},Again,\r\n".encode(), budget="5", max_failed="100%")
    bench.run(session)
    for number, outcome in enumerate(("unchanged", "skipped", "not_found", "needs_review"), start=3):
        bench.execute(f"UPDATE items SET outcome = '{outcome}' WHERE session_id = '{session}' AND item_no = {number}")
    for number, outcome, state in ((7, "failed", "discarded"), (8, "cancelled", "cancelled")):
        bench.execute(
            f"UPDATE items SET outcome = '{outcome}', state = '{state}', error_code = 'upstream.refused', "
            f"error_message = 'No.' WHERE session_id = '{session}' AND item_no = {number}"
        )
    bench.sessions.reprocess(session, outcomes=["enriched"], key=artist_id(1))
    bench.run(session)
    return session


def _films(bench: Workbench) -> UUID:
    bench.upstream.unknown = {"Nobody Knows It"}
    films = ["2024-01-01,Heat,1995,https://boxd.it/1", "2024-01-02,Nobody Knows It,,https://boxd.it/2"]
    diary = '2024-03-03,Heat,1995,https://boxd.it/e1,4,Yes,"cinema, 35mm",2024-03-02'
    files = {
        "watched.csv": [HEADER, *films],
        "ratings.csv": [f"{HEADER},Rating", f"{films[0]},4.5"],
        "diary.csv": [f"{HEADER},Rating,Rewatch,Tags,Watched Date", diary],
        "reviews.csv": [f"{HEADER},Rating,Rewatch,Review,Tags,Watched Date",
                        "2024-03-03,Heat,1995,https://boxd.it/e1,4,,Good.,,2024-03-02"],
    }  # fmt: skip
    session = bench.drop(zipped({name: "\n".join(lines).encode() for name, lines in files.items()}), "movies/me.zip")
    bench.run(session)
    return session


def _put_manifests(running: Running, store: FakeStore) -> None:
    """Have the real store hold what the sessions' end wrote."""
    bucket = running.plan.topology.bucket_names()["RESULTS_BUCKET"]
    for where, name in store.objects:
        if name.endswith("manifest.json"):
            _put(running, bucket, name, store.read(where, name))


def _put(running: Running, bucket: str, name: str, data: bytes) -> None:
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
    put = running.send("storage", path, body=data, headers={"Content-Type": "application/octet-stream"})
    assert put.status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_paper_works(running: Running, sessions: list[UUID], tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ended, films, _, quoted, held, sheet = sessions
    names = {"API": running.plan.url("api"), "SESSION": ended, "ASSETS": sheet, "FILMS": films, "QUOTED": quoted}
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith("API=")]
    assert sum("curl" in line for line in lines) > 25
    for block in blocks[1:]:  # the first says where the API is
        chosen = {**names, "SESSION": held} if "/pause" in block else names
        script = 'curl() { command curl --fail-with-body -sS "$@" || exit 1; }\n' + block
        done = subprocess.run(
            ["bash", "-eu"], input=script, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
            env={**os.environ, "NO_PROXY": "*", **{name: str(value) for name, value in chosen.items()}},
        )  # fmt: skip
        assert done.returncode == 0, block + done.stdout + done.stderr
    followed = (tmp_path / "followed.jsonl").read_text("utf-8").splitlines()
    assert sorted(followed) == sorted(
        running.send("api", f"/api/session/{ended}/results", method="GET").body.decode().splitlines()
    )
    assert (tmp_path / "results.csv").read_text("utf-8").count("\n") > len(followed)


def test_every_answer_is_as_described(running: Running, sessions: list[UUID], tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    values = ", ".join(f'"{session}"' for session in sessions)
    config.write_text(CONFIG.replace("SESSIONS", values), "utf-8")
    address = running.plan.url("api") + "/openapi.json"
    tool = Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [tool, "--config-file", config, "run", address, "--no-color"],
        cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in running.said("api")


CONFIG = """
continue-on-failure = true

[dictionaries.sessions]
values = [SESSIONS]

[parameters]
"path.session" = { dictionary = "sessions", probability = 0.9 }

[[operations]]
include-operation-id = ["upload", "upload_link"]
# No schema can tell that two files of one name would be one object, that a session has other options than those given,
# or that a form may have a hundred parts; and whatever a file is made of, a form sends it as bytes. What is taken and
# what is refused of uploads is held by tests/functions/test_api_upload.py.
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false

[[operations]]
include-operation-id = "tracks"
# No schema can tell a cursor that this list gave from any other text of such letters.
checks.positive_data_acceptance.enabled = false

[[operations]]
include-operation-id = "search_tracks"
# Nor a text with a word in it from one without, in any script.
checks.positive_data_acceptance.enabled = false

[generation]
max-examples = 30
deterministic = true
"""
