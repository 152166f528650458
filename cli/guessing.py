"""Which pipeline files are for, where they tell it themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cli.faults import WrongUsage
from shared.csvtext import printable
from shared.pipelines import PIPELINES
from shared.samples import HEAD, Sample
from shared.text import shortened


def guessed(files: Sequence[Path]) -> str:
    """The one pipeline all of these files look like; raises WrongUsage."""
    found = {file: _pipeline_of(file) for file in files}
    slugs = sorted(set(found.values()))
    if len(slugs) > 1:
        told = " and ".join(f"{next(file for file in files if found[file] == slug)} like {slug}" for slug in slugs)
        raise WrongUsage(f"{told} look different: run them one after the other, or say --pipeline.")
    return slugs[0]


def _pipeline_of(file: Path) -> str:
    sample = _sample(file)
    found = [slug for slug, pipeline in PIPELINES.items() if pipeline.recognises(sample)]
    if not found:
        raise WrongUsage(f"It is not clear what {file} is for: {_why(sample)}. Say {_choices(PIPELINES)}.")
    if len(found) > 1:
        raise WrongUsage(f"{file} looks like {' and like '.join(found)}. Say {_choices(found)}.")
    return found[0]


def _sample(file: Path) -> Sample:
    if file.is_dir():
        single = _single_in(file)
        return Sample(name=file.name, folder=True) if single is None else _sample(single)
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD)
    except FileNotFoundError as error:
        raise WrongUsage(f"{file} does not exist; name the files to upload.") from error
    except OSError as error:
        raise WrongUsage(f"Cannot read {file}: {error.strerror}.") from error
    return Sample(name=file.name, head=head, whole=len(head) < HEAD)


def _single_in(folder: Path) -> Path | None:
    """A file of the folder that is a row by itself, where it holds no CSV as exports do."""
    inside = sorted(one for one in folder.rglob("*") if one.is_file())
    if any(one.suffix.lower() == ".csv" for one in inside):
        return None
    return next((one for one in inside if any(line.is_single(one.name) for line in PIPELINES.values())), None)


def _why(sample: Sample) -> str:
    """Why nobody knows what a file is for."""
    text = sample.head.decode("utf-8-sig", "replace")
    told = shortened(printable(next((line for line in text.splitlines() if line.strip()), "")).strip(), 80)
    known = "; ".join(f"{slug} has {one.known_by}" for slug, one in PIPELINES.items() if one.known_by)
    return f"its first line reads “{told}”, which is of no pipeline ({known})" if told else "it is empty"


def _choices(slugs: Iterable[str]) -> str:
    return " or ".join(f"--pipeline {slug}" for slug in sorted(slugs))
