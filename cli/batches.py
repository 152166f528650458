"""A batch: files on their way into sessions, watched until those have ended, and the results brought back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from cli.client import Api, Document, NoSuchSession
from cli.faults import WrongUsage
from cli.inputs import Input, inputs_of
from cli.leaving import Leaving
from cli.parameters import checked_options, checked_pipeline
from cli.quotes import approved
from cli.resuming import Earlier
from cli.saving import Saved, save, unused
from cli.terminal import Terminal
from cli.uploading import Uploaded, Uploader
from cli.watching import ENDED, Watcher
from shared.options import Options
from shared.rejects import session_of_name
from shared.sessions import export_session_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Files to upload, checked as far as that is possible from here."""

    inputs: Sequence[Input]
    options: dict[str, str]
    left_out: str  # sentences on the options that have no effect and the files that are not uploaded
    earlier: Earlier | None = None  # results of an earlier run whose rows are not run again

    @classmethod
    def checked(
        cls,
        files: Sequence[Path],
        pipeline: str,
        *,
        export: str | None = None,
        resume: Path | None = None,
        **options: str | bool | None,
    ) -> Batch:
        """The batch a command line describes; raises WrongUsage."""
        checked_pipeline(pipeline, export=export, watchlist=bool(options.get("watchlist")))
        earlier = None if resume is None else Earlier.checked(resume, pipeline)
        metadata = checked_options(**options, resume=None if earlier is None else earlier.object)
        from shared.api.choices import has_effect  # it brings the whole framework of the API along

        idle = [name for name in metadata if not has_effect(name.replace("-", "_"), pipeline)]
        inputs, left_out = inputs_of(files, pipeline, export=export)
        if idle:
            words = ", ".join(f"--{name}" for name in idle)
            left_out = f"{words} left out, for it changes nothing about {pipeline}. {left_out}".strip()
        kept = {name: value for name, value in metadata.items() if name not in idle}
        return cls(inputs=inputs, options=kept, left_out=left_out, earlier=earlier)

    def upload(self, api: Api, storage: str | None, terminal: Terminal) -> Iterator[Uploaded]:
        """Upload every file, one after the other. Raises Fault."""
        bucket = str(api.health()["upload_bucket"])
        places = {(one.export, session_of_name(one.object)) for one in self.inputs}
        sessions = {place: self._session(*place, bucket, api) for place in places}
        uploader = Uploader(bucket, storage=storage)
        if self.left_out:
            terminal.note(self.left_out)
        if self.earlier is not None:
            with terminal.busy(f"uploading {self.earlier.file}, the results to go on with"):
                uploader.keep(self.earlier.file, self.earlier.object, "application/x-ndjson")
        together = uuid4() if sum(one.single for one in self.inputs) > 1 else None
        for one in self.inputs:
            joined = sessions[one.export, session_of_name(one.object)]
            options = self.options
            if joined is None and one.single and together is not None:
                joined, options = together, {**self.options, "session": str(together)}
            with terminal.busy(f"uploading {one.file}, {one.file.stat().st_size:,} bytes"):
                done = uploader.put(one, options, session=joined)
            yield done

    def _session(self, export: str | None, returned_to: UUID | None, bucket: str, api: Api) -> UUID | None:
        """The session the files join; None if each makes one of its own. Raises WrongUsage if it does not take them.

        `returned_to` is the one whose rejected rows they are by their name.
        """
        wanted = UUID(self.options["session"]) if "session" in self.options else returned_to
        if wanted is not None:
            found = api.session(wanted)  # a mistyped one would be made anew
            self._check_takes_files(found)
            self._check_joins(found)
            return wanted
        for session in () if export is None else export_session_ids(bucket, export):
            try:
                found = api.session(session)
            except NoSuchSession:
                return session
            if found["status"] != "cancelled" and not _is_over(found):
                self._check_joins(found)
                return session
        return None

    def _check_takes_files(self, found: Document) -> None:
        """Raise WrongUsage if a session takes no files of this pipeline."""
        pipeline = self.inputs[0].object.partition("/")[0]
        if found["pipeline"] != pipeline or found["status"] == "cancelled" or _is_over(found):
            why = f"is one of pipeline {found['pipeline']}" if found["pipeline"] != pipeline else "has ended for good"
            raise WrongUsage(
                f"Session {found['session_id']} {why}; upload the file under another name and without --session."
            )

    def _check_joins(self, found: Document) -> None:
        """Raise WrongUsage if a session has other options: they stay, and a file that asks otherwise would fail it."""
        other = [
            name.replace("_", "-")
            for name, value in Options.parse(self.options).explicit().items()
            if found["options"].get(name) != value
        ]
        if other:
            raise WrongUsage(
                f"These files belong to session {found['session_id']}, which has another {', '.join(other)} and keeps "
                "it. Leave the option out, or give them an export of their own with --export NAME."
            )


def _is_over(found: Document) -> bool:
    """Whether a session has expired."""
    return datetime.fromisoformat(found["expires_at"]) <= datetime.now(UTC)


def sessions_of(uploads: Sequence[Uploaded]) -> dict[UUID, str]:
    """The sessions of some uploads in order, each with what people call it."""
    names: dict[UUID, str] = {}
    for each in uploads:
        names.setdefault(each.session, each.input.title)
    return names


def run_batches(
    batches: Sequence[Batch],
    service: Api,
    storage: str | None,
    terminal: Terminal,
    *,
    started: bool = False,
    ask: bool = False,
) -> tuple[list[Document], list[Uploaded]]:
    """How the sessions of some batches ended, and the uploads they are of. Raises Fault.

    `started`: the stack was started for this. `ask`: a person who presses Ctrl-C is asked what is to become of them.
    """
    uploads: list[Uploaded] = []
    try:
        for batch in batches:
            uploads.extend(batch.upload(service, storage, terminal))
        found = watch_uploads(uploads, service, terminal)
        if approved(found, service, terminal):
            found = watch_uploads(uploads, service, terminal)
        return found, uploads
    except KeyboardInterrupt as error:
        raise Leaving(service, uploads, terminal, started=started).taken(error, ask=ask) from error


def watch_uploads(uploads: Sequence[Uploaded], service: Api, terminal: Terminal) -> list[Document]:
    """How the sessions of some uploads end, shown meanwhile. Raises Fault."""
    names = sessions_of(uploads)
    return Watcher(service, terminal).watch(list(names), uploads=uploads, names=names)


def save_results(
    found: Sequence[Document],
    uploads: Sequence[Uploaded],
    service: Api,
    output: Path | None,
    earlier: Earlier | None = None,
) -> list[Saved]:
    """The results of the sessions that ended, in a file of each, or all in one. Raises Fault."""
    ended = [UUID(status["session_id"]) for status in found if status["status"] in ENDED]
    if output is None:
        first = {each.session: each.input.results for each in reversed(uploads)}
        # Results of an earlier run may have been paid for: they stay.
        return [save_result([each], service, unused(first[each]), earlier) for each in ended]
    return [save_result(ended, service, output, earlier)] if ended else []


def save_result(sessions: Sequence[UUID], service: Api, output: Path, earlier: Earlier | None = None) -> Saved:
    """The results of some sessions, one after the other, in one file. Raises Fault.

    Of rows that the earlier results held they have what those say.
    """

    def pieces() -> Iterator[bytes]:
        for session in sessions:
            with service.results(session) as stream:
                yield from stream

    with nullcontext(pieces()) if earlier is None else earlier.completed(pieces()) as whole:
        return save(whole, output, json_lines=True)
