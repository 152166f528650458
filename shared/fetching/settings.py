"""Settings of fetching, each a variable FETCH_… of the environment; `.env.example` has them with their defaults."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from shared.fetching import names
from shared.fetching.addresses import DEFAULT_HOSTS, Host, Hosts

NOT_SET: Final = "not set"  # what a deployment keeps in place of a secret it was not given
FORMAT: Final = "best[vcodec!=none][acodec!=none][protocol^=http]"  # one whole file with picture and sound
LANGUAGES: Final = ("en",)


def _listed(value: object) -> object:
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class FetchSettings(BaseModel):
    """What may be fetched, how fast, and what files are called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: Listed = DEFAULT_HOSTS
    max_bytes: int = Field(default=5 * 1024**3, gt=0)
    at_once: int = Field(default=4, ge=1)  # transfers of one process with one host
    per_second: float = Field(default=5, gt=0)  # of them begun in a second
    video_format: str = FORMAT
    caption_languages: Listed = LANGUAGES
    name_video: str = names.VIDEO
    name_transcript: str = names.TRANSCRIPT
    name_file: str = names.FILE
    drive_key: SecretStr = SecretStr("")
    # Both for tests alone: servers of this machine that may be asked, and one that is asked instead of everybody.
    test_origins: Listed = ()
    stand_in: str = ""

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Hosts.parse(value)
        return value

    @field_validator("test_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in map(Host.parse, value):
            if one.name not in _THIS_MACHINE or one.port is None:
                raise ValueError("test servers are on 127.0.0.1 or [::1], with a port")
        return value

    @field_validator("stand_in")
    @classmethod
    def _stand_in(cls, value: str) -> str:
        if value and not re.fullmatch(r"http://127\.0\.0\.1:\d{1,5}", value):
            raise ValueError("the simulated web is at http://127.0.0.1:PORT")
        return value

    @field_validator("drive_key")
    @classmethod
    def _drive_key(cls, value: SecretStr) -> SecretStr:
        return SecretStr("") if value.get_secret_value() == NOT_SET else value

    @field_validator("name_video", "name_transcript", "name_file")
    @classmethod
    def _names(cls, value: str) -> str:
        return names.checked_template(value)

    @property
    def stand_in_address(self) -> tuple[str, int] | None:
        """Host and port of the simulated web."""
        parts = urlsplit(self.stand_in)
        return (parts.hostname or "", parts.port or 80) if self.stand_in else None


_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1"})
# Variable -> field.
VARIABLES: Final = {
    "FETCH_HOSTS": "hosts",
    "FETCH_MAX_BYTES": "max_bytes",
    "FETCH_AT_ONCE": "at_once",
    "FETCH_PER_SECOND": "per_second",
    "FETCH_VIDEO_FORMAT": "video_format",
    "FETCH_CAPTION_LANGUAGES": "caption_languages",
    "FETCH_NAME_VIDEO": "name_video",
    "FETCH_NAME_TRANSCRIPT": "name_transcript",
    "FETCH_NAME_FILE": "name_file",
    "GOOGLE_DRIVE_API_KEY": "drive_key",
    "FETCH_TEST_ORIGINS": "test_origins",
    "FETCH_STAND_IN": "stand_in",
}
