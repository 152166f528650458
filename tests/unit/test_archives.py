"""An archive is read as zipfile reads it, in few requests, and a hostile or damaged one is refused with its reason."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.archives import ArchiveLimits, ArchiveMember, MemberStream, ObjectReader, members, open_member
from shared.errors import InputError, ObjectGone
from shared.letterboxd import place
from shared.storage import BLOCK, KEPT, ObjectStream

DATA = Path(__file__).parents[3] / "shared" / "data" / "movies" / "letterboxd"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data folder beside the project is not there")
CSV = b"Date,Name,Year,Letterboxd URI\r\n2020-01-01,Heat,1995,https://boxd.it/29Pq\r\n"


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    """An archive as Python's own zipfile writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


@dataclass(kw_only=True)
class Raw:
    """One member as a liar may write it; what is None is told as it is."""

    name: bytes
    data: bytes = CSV
    method: int = 8
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    compressed_size: int | None = None
    mode: int = 0
    offset: int | None = None
    local_name: bytes | None = None
    local_flags: int | None = None
    local_extra: bytes = b""
    wide: bool = False  # sizes and offset in the ZIP64 extra field
    packed: bytes | None = None

    def packed_data(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method != 8:
            return self.data
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflater.compress(self.data) + deflater.flush()


def crafted(*raws: Raw, entries: int | None = None, zip64: bool = False, before_end: bytes = b"") -> bytes:
    """An archive written by hand."""
    body, directory = bytearray(), bytearray()
    for raw in raws:
        packed = raw.packed_data()
        crc = zlib.crc32(raw.data) if raw.crc is None else raw.crc
        size = len(raw.data) if raw.size is None else raw.size
        told = len(packed) if raw.compressed_size is None else raw.compressed_size
        offset = len(body) if raw.offset is None else raw.offset
        extra = struct.pack("<2H3Q", 1, 24, size, told, offset) if raw.wide else b""
        if raw.wide:
            size = told = offset = 0xFFFFFFFF
        local_name = raw.name if raw.local_name is None else raw.local_name
        flags = raw.flags if raw.local_flags is None else raw.local_flags
        body += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, flags, raw.method, 0, 33, crc, told, size, len(local_name), len(raw.local_extra)
        )
        body += local_name + raw.local_extra + packed
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 0x314, 20, raw.flags, raw.method, 0, 33, crc, told, size,
            len(raw.name), len(extra), 0, 0, 0, raw.mode << 16, offset,
        )  # fmt: skip
        directory += raw.name + extra
    number = len(raws) if entries is None else entries
    return bytes(body + directory + before_end) + ending(number, len(directory), len(body), zip64=zip64)


def ending(number: int, size: int, offset: int, *, zip64: bool) -> bytes:
    if not zip64:
        return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, size, offset, 0)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, number, number, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
    return wide + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def listed(archive: bytes, limits: ArchiveLimits | None = None) -> list[ArchiveMember]:
    return members(io.BytesIO(archive), len(archive), limits)


def contents(archive: bytes, path: str, *, offset: int = 0, step: int = 100_000) -> bytes:
    return drained(open_member(io.BytesIO(archive), len(archive), path, offset=offset), step)


def drained(stream: MemberStream, step: int = 100_000) -> bytes:
    return b"".join(iter(lambda: stream.read(step), b""))


def code_of(read: Callable[[], object]) -> str:
    """The code of the refusal, which has to name what to do."""
    with pytest.raises(InputError) as caught:
        read()
    assert len(str(caught.value)) < 500
    return caught.value.code.removeprefix("input.archive_")


class TestReading:
    """What a good archive holds is what comes out."""

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_members_with_their_sizes_and_bytes(self, method: int) -> None:
        rows = b"".join(b"2020-01-01,Film %d,1995,https://boxd.it/%x\r\n" % (n, n) for n in range(30_000))
        files = {"watched.csv": rows, "likes/films.csv": CSV, "diary.csv": b""}
        archive = zipped(files, method, comment=b"made by hand")
        found = listed(archive)
        assert {one.path: one.size for one in found} == {name: len(data) for name, data in files.items()}
        assert [one.crc for one in found] == [zlib.crc32(data) for data in files.values()]
        assert {name: contents(archive, name) for name in files} == files

    def test_a_name_the_ledger_could_not_hold_is_refused(self) -> None:
        with pytest.raises(InputError, match="more than 500 bytes"):
            listed(zipped({f"{'é' * 251}/watched.csv": CSV}))

    def test_folders_are_no_members(self) -> None:
        archive = zipped({"export/": b"", "export/likes/": b"", "export/likes/films.csv": CSV})
        assert [one.path for one in listed(archive)] == ["export/likes/films.csv"]

    def test_sizes_that_stand_behind_the_data(self) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

            def tell(self) -> int:
                raise OSError("a pipe has no place")

        pipe = Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as writer, writer.open("watched.csv", "w") as file:
            file.write(CSV * 100)
        archive = pipe.getvalue()
        assert archive[6] & 8, "the archiver promised the sizes for later"
        assert contents(archive, "watched.csv") == CSV * 100

    def test_zip64(self) -> None:
        archive = crafted(Raw(name=b"watched.csv", wide=True), Raw(name=b"diary.csv", wide=True), zip64=True)
        assert [(one.path, one.size) for one in listed(archive)] == [("watched.csv", len(CSV)), ("diary.csv", len(CSV))]
        assert contents(archive, "diary.csv") == CSV

    def test_the_comment_may_hold_what_ends_an_archive(self) -> None:
        archive = zipped({"watched.csv": CSV}, comment=b"PK\5\6" + bytes(40))
        assert contents(archive, "watched.csv") == CSV

    def test_a_header_may_hold_more_than_the_directory(self) -> None:
        archive = crafted(Raw(name=b"a.csv", local_extra=b"UT\5\0\3....."), Raw(name=b"b.csv"))
        assert contents(archive, "a.csv") == contents(archive, "b.csv") == CSV

    def test_a_folder_packed_again_on_a_mac(self) -> None:
        archive = zipped(
            {"export/watched.csv": CSV, "__MACOSX/export/._watched.csv": b"\0\5\x16\7", ".DS_Store": b"\0"}
        )
        kept = [one.path for one in listed(archive) if not place(one.path).junk]
        assert kept == ["export/watched.csv"]

    @pytest.mark.parametrize(
        ("raw", "path"),
        [
            (b"export\\likes\\films.csv", "export/likes/films.csv"),
            (b"./watched.csv", "watched.csv"),
            ("Café.csv".encode(), "Café.csv"),
            ("Café.csv".encode("cp437"), "Café.csv"),
            (b"Icon\r", "Icon\r"),
        ],
    )
    def test_names_as_archivers_write_them(self, raw: bytes, path: str) -> None:
        archive = crafted(Raw(name=raw))
        assert [one.path for one in listed(archive)] == [path]
        assert contents(archive, path) == CSV

    def test_reading_on_from_any_offset(self) -> None:
        data = b"".join(b"%d," % number for number in range(200_000))
        archive = zipped({"watched.csv": data})
        for offset in (0, 1, KEPT - 1, KEPT, KEPT + 1, len(data) - 1, len(data)):
            assert contents(archive, "watched.csv", offset=offset, step=77_777) == data[offset:]

    @pytest.mark.parametrize("size", [1_000_000, KEPT, KEPT + 1, KEPT + 100, KEPT + 258, 2 * KEPT + 7])
    def test_a_stream_of_highly_packed_text_is_whole(self, size: int) -> None:
        data = b"\n" * size
        assert contents(zipped({"watched.csv": data}), "watched.csv") == data

    def test_memory_is_that_of_a_piece(self) -> None:
        deflater, size = zlib.compressobj(9, zlib.DEFLATED, -15), 60 << 20
        line = bytes(range(256)) * 4
        packed = b"".join(deflater.compress(line) for _ in range(size // len(line))) + deflater.flush()
        archive = crafted(Raw(name=b"watched.csv", packed=packed, size=size, crc=0))
        stream = open_member(io.BytesIO(archive), len(archive), "watched.csv", limits=ArchiveLimits(ratio=1_000))
        tracemalloc.start()
        taken = 0
        while taken < size - (1 << 20):
            taken += len(stream.read(100_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 << 20

    @given(
        files=st.dictionaries(
            st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.csv", fullmatch=True), st.binary(max_size=2_000), min_size=1
        ),
        method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
        comment=st.binary(max_size=50),
        step=st.integers(1, 3_000),
    )
    @settings(deadline=None, max_examples=50)
    def test_as_zipfile_reads_it(self, files: dict[str, bytes], method: int, comment: bytes, step: int) -> None:
        archive = zipped(files, method, comment)
        assert [one.path for one in listed(archive)] == list(files)
        assert {name: contents(archive, name, step=step) for name in files} == files

    @needs_data
    @pytest.mark.parametrize("name", ["u2021a", "u2022a", "u2025a"])
    def test_real_exports_equal_their_folders(self, name: str) -> None:
        (path,) = (DATA / "zips").glob(f"letterboxd-{name}-*.zip")
        archive = path.read_bytes()
        found = listed(archive)
        assert len(found) >= 10
        for member in found:
            assert contents(archive, member.path) == (DATA / name / member.path).read_bytes(), member.path


class TestRefused:
    """Archives nobody exported; the sentence says which member, and what to do."""

    @pytest.mark.parametrize(
        "name",
        [b"../watched.csv", b"likes/../../films.csv", b"..\\diary.csv", b"/etc/watched.csv", b"\\watched.csv",
         b"C:\\watched.csv", b"c:watched.csv", b"//server/share/diary.csv", b"watched.csv\0.exe", b"", b".."],
    )  # fmt: skip
    def test_paths_that_leave_the_folder(self, name: bytes) -> None:
        assert code_of(lambda: listed(crafted(Raw(name=b"diary.csv"), Raw(name=name)))) == "path"

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (Raw(name=b"watched.csv", flags=0x1), "encrypted"),
            (Raw(name=b"watched.csv", flags=0x41), "encrypted"),
            (Raw(name=b"watched.csv", method=99), "encrypted"),
            (Raw(name=b"export.zip", method=0), "nested"),
            (Raw(name=b"export/Films.CSV.GZ"), "nested"),
            (Raw(name=b"old.7z"), "nested"),
            (Raw(name=b"old.rar"), "nested"),
            (Raw(name=b"watched.csv", mode=stat.S_IFLNK | 0o777), "link"),
            (Raw(name=b"watched.csv", mode=stat.S_IFIFO | 0o600), "link"),
            (Raw(name=b"watched.csv", method=9), "compression"),
            (Raw(name=b"watched.csv", method=12), "compression"),
            (Raw(name=b"watched.csv", method=14), "compression"),
            (Raw(name=b"watched.csv", method=1), "compression"),
            (Raw(name=b"watched.csv", method=0, size=5), "damaged"),
        ],
    )
    def test_members_that_are_no_plain_files(self, raw: Raw, code: str) -> None:
        archive = crafted(Raw(name=b"diary.csv"), raw)
        assert code_of(lambda: listed(archive)) == code
        assert code_of(lambda: contents(archive, "diary.csv")) == code, "nothing of such an archive is opened"
        with pytest.raises(InputError, match=raw.name.decode()):
            listed(archive)

    @pytest.mark.parametrize("mode", [0, stat.S_IFREG | 0o644, 0o644])
    def test_plain_files_are_let_in_whatever_their_permissions(self, mode: int) -> None:
        assert listed(crafted(Raw(name=b"watched.csv", mode=mode)))

    def test_two_members_of_one_name(self) -> None:
        assert code_of(lambda: listed(crafted(Raw(name=b"a/diary.csv"), Raw(name=b"a\\.\\diary.csv")))) == "duplicate"

    def test_an_archive_of_nothing(self) -> None:
        assert code_of(lambda: listed(zipped({}))) == "empty"
        assert code_of(lambda: listed(zipped({"export/": b""}))) == "empty"

    @pytest.mark.parametrize("data", [b"", b"PK", CSV * 50, b"Rar!\x1a\7\0" + bytes(200), bytes(100_000)])
    def test_what_is_no_archive(self, data: bytes) -> None:
        assert code_of(lambda: listed(data)) == "not_zip"

    def test_one_volume_of_several(self) -> None:
        archive = bytearray(zipped({"diary.csv": CSV}))
        archive[-22 + 4] = 2
        assert code_of(lambda: listed(bytes(archive))) == "volumes"


class TestBombs:
    """Archives that are small until they are unpacked."""

    def test_a_member_that_grows_beyond_reason(self) -> None:
        archive = zipped({"watched.csv": CSV, "diary.csv": bytes(20 << 20)})
        assert len(archive) < 30_000
        with pytest.raises(InputError, match=r"'diary.csv' would grow from .* to 20,971,520") as caught:
            listed(archive)
        assert caught.value.code == "input.archive_bomb"

    def test_small_members_may_be_of_any_ratio(self) -> None:
        assert listed(zipped({"watched.csv": bytes(1 << 20)}))[0].size == 1 << 20

    def test_more_than_a_session_can_take(self) -> None:
        limits = ArchiveLimits(total_bytes=3 * len(CSV) - 1)
        files = {f"{number}.csv": CSV for number in range(3)}
        assert code_of(lambda: listed(zipped(files), limits)) == "too_large"
        assert len(listed(zipped(files), ArchiveLimits(total_bytes=3 * len(CSV)))) == 3

    def test_many_members_out_of_the_same_bytes(self) -> None:
        """The data of each holds the headers of those behind it, quoted as one stored block of Deflate."""
        kernel = Raw(name=b"z.csv", data=bytes(100_000))
        one = crafted(kernel)
        length = 30 + 5 + len(kernel.packed_data())
        quoted = struct.pack("<B2H", 0, length, length ^ 0xFFFF)
        first = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, 0, 0, 5, 0) + b"a.csv" + quoted
        entries = [(b"a.csv", 0, 5 + length), (b"z.csv", len(first), len(kernel.packed_data()))]
        directory = b"".join(
            struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, size, 100_000, 5, 0, 0, 0, 0, 0, at) + name
            for name, at, size in entries
        )
        body = first + one[:length]
        archive = body + directory + ending(2, len(directory), len(body), zip64=False)
        assert code_of(lambda: listed(archive)) == "bomb"

    def test_two_names_for_the_same_bytes(self) -> None:
        archive = crafted(Raw(name=b"a.csv"), Raw(name=b"b.csv", offset=0))
        assert code_of(lambda: listed(archive)) == "bomb"

    def test_a_header_that_skips_to_the_bytes_of_the_next_member(self) -> None:
        archive = bytearray(crafted(Raw(name=b"a.csv", method=0), Raw(name=b"b.csv", method=0)))
        archive[28:30] = struct.pack("<H", len(CSV) + 30 + 5)  # of an extra field the directory knows nothing of
        assert len(listed(bytes(archive))) == 2
        assert code_of(lambda: contents(bytes(archive), "a.csv")) == "damaged"
        assert contents(bytes(archive), "b.csv") == CSV

    @pytest.mark.parametrize("zip64", [True, False])
    def test_a_hundred_thousand_members(self, zip64: bool) -> None:
        header = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 9, 0)
        entry = struct.pack("<4s6H3L5HL", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 9, 0, 0, 0, 0, 0)
        names = [b"%05d.csv" % number for number in range(100_000)]
        body = b"".join(header + name for name in names)
        directory = b"".join(
            entry + struct.pack("<L", at * 39) + name for name, at in zip(names, count(), strict=False)
        )
        told = 100_000 if zip64 else 100_000 & 0xFFFF
        archive = body + directory + ending(told, len(directory), len(body), zip64=zip64)
        reader = io.BytesIO(archive)
        tracemalloc.start()
        assert code_of(lambda: members(reader, len(archive))) == "too_many"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 500_000

    def test_a_directory_longer_than_it_says(self) -> None:
        raws = [Raw(name=b"%03d.csv" % number) for number in range(500)]
        assert code_of(lambda: listed(crafted(*raws, entries=10))) == "damaged"
        assert code_of(lambda: listed(crafted(*raws, entries=501))) == "damaged"
        assert code_of(lambda: listed(crafted(*raws), ArchiveLimits(directory_bytes=20_000))) == "too_large"
        assert code_of(lambda: listed(crafted(*raws), ArchiveLimits(members=499))) == "too_many"
        assert len(listed(crafted(*raws), ArchiveLimits(members=500))) == 500


class TestDamaged:
    """Archives that are not whole, and those that contradict themselves."""

    def test_cut_off_anywhere(self) -> None:
        archive = zipped({"watched.csv": CSV * 10, "diary.csv": CSV})
        for length in range(len(archive)):
            assert code_of(partial(listed, archive[:length])) == ("not_zip" if length < 4 else "damaged")

    def test_bytes_lost_or_added_in_its_midst(self) -> None:
        archive = zipped({"watched.csv": CSV * 10, "diary.csv": CSV})
        assert code_of(lambda: listed(archive[:50] + archive[60:])) == "damaged"
        assert code_of(lambda: listed(archive[:50] + bytes(10) + archive[50:])) == "damaged"
        assert code_of(lambda: listed(archive + b"\n")) == "damaged"
        assert code_of(lambda: listed(crafted(Raw(name=b"a.csv"), before_end=bytes(7)))) == "damaged"

    def test_two_ends_that_contradict_each_other(self) -> None:
        archive = bytearray(crafted(Raw(name=b"a.csv"), Raw(name=b"b.csv"), zip64=True))
        archive[-12:-10] = struct.pack("<H", 1)  # the plain end tells of one member, the ZIP64 one of two
        assert code_of(lambda: listed(bytes(archive))) == "damaged"

    def test_a_zip64_end_elsewhere(self) -> None:
        archive = bytearray(crafted(Raw(name=b"a.csv"), zip64=True))
        archive[-34:-26] = struct.pack("<Q", 1 << 60)
        assert code_of(lambda: listed(bytes(archive))) == "damaged"

    def test_a_wide_size_that_is_not_there(self) -> None:
        assert code_of(lambda: listed(crafted(Raw(name=b"a.csv", size=0xFFFFFFFF)))) == "damaged"

    def test_a_member_beyond_the_directory(self) -> None:
        assert code_of(lambda: listed(crafted(Raw(name=b"a.csv", offset=5_000)))) == "damaged"
        assert code_of(lambda: listed(crafted(Raw(name=b"a.csv", compressed_size=5_000)))) == "damaged"

    @pytest.mark.parametrize(
        "raw",
        [
            Raw(name=b"watched.csv", local_name=b"WATCHED.csv"),
            Raw(name=b"watched.csv", local_name=b"watched.csv.exe"),
            Raw(name=b"watched.csv", local_flags=1),
        ],
    )
    def test_a_header_that_contradicts_the_directory(self, raw: Raw) -> None:
        assert code_of(lambda: contents(crafted(raw), "watched.csv")) == "damaged"

    def test_a_member_that_is_not_there(self) -> None:
        assert code_of(lambda: contents(zipped({"a.csv": CSV}), "b.csv")) == "damaged"

    @pytest.mark.parametrize("method", [0, 8])
    def test_a_wrong_checksum_gives_nothing_of_a_short_member(self, method: int) -> None:
        archive = crafted(Raw(name=b"watched.csv", method=method, crc=1))
        assert len(listed(archive)) == 1
        stream = open_member(io.BytesIO(archive), len(archive), "watched.csv")
        with pytest.raises(InputError, match=r"'watched.csv' does not have the checksum"):
            stream.read(1)

    def test_a_wrong_checksum_shows_at_the_end_also_when_reading_on(self) -> None:
        data = CSV * 10_000
        archive = crafted(Raw(name=b"watched.csv", data=data, crc=1))
        assert code_of(lambda: contents(archive, "watched.csv", offset=len(data) - 10)) == "damaged"

    @pytest.mark.parametrize("change", [-1, 1, -len(CSV)])
    def test_a_size_that_lies(self, change: int) -> None:
        archive = crafted(Raw(name=b"watched.csv", size=len(CSV) + change))
        assert code_of(lambda: contents(archive, "watched.csv")) == "damaged"

    def test_a_lie_is_found_before_more_is_given_than_announced(self) -> None:
        size = 1 << 20
        raw = Raw(name=b"watched.csv", data=bytes(50 << 20), size=size, crc=zlib.crc32(bytes(size)))
        archive = crafted(raw)
        stream = open_member(io.BytesIO(archive), len(archive), "watched.csv")
        assert sum(len(stream.read(1 << 17)) for _ in range(8)) == size
        with pytest.raises(InputError, match="holds more than the 1,048,576 bytes"):
            stream.read(1)

    @pytest.mark.parametrize("kept", [0, 1, 30])
    def test_packed_data_that_ends_too_early(self, kept: int) -> None:
        packed = Raw(name=b"").packed_data()[:kept]
        assert code_of(lambda: contents(crafted(Raw(name=b"watched.csv", packed=packed)), "watched.csv")) == "damaged"

    def test_bytes_behind_the_packed_data_are_not_gathered(self) -> None:
        raw = Raw(name=b"watched.csv", packed=Raw(name=b"").packed_data() + bytes(50 << 20))
        stream = open_member(io.BytesIO(archive := crafted(raw)), len(archive), "watched.csv")
        tracemalloc.start()
        assert code_of(lambda: drained(stream)) == "damaged"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 << 20

    def test_packed_data_that_is_none(self) -> None:
        raw = Raw(name=b"watched.csv", packed=b"\xff" * 50)
        assert code_of(lambda: contents(crafted(raw), "watched.csv")) == "damaged"

    @given(data=st.data())
    @settings(deadline=None, max_examples=300)
    def test_a_changed_byte_never_gives_other_text(self, data: st.DataObject) -> None:
        files = {"watched.csv": CSV * 3, "likes/films.csv": CSV}
        archive = bytearray(zipped(files))
        at = data.draw(st.integers(0, len(archive) - 1))
        archive[at] ^= data.draw(st.integers(1, 255))
        try:
            texts = [contents(bytes(archive), one.path) for one in listed(bytes(archive))]
        except InputError:
            return
        assert set(texts) <= set(files.values())


class TestObjectReader:
    """Any place of an object, from few requests."""

    def test_a_small_archive_takes_one_stream(self) -> None:
        archive = zipped({"watched.csv": CSV * 500, "diary.csv": CSV})
        fetched: list[int] = []
        reader = ObjectReader(counted(archive, fetched), len(archive))
        for member in members(reader, len(archive)):
            stream = open_member(reader, len(archive), member.path)
            assert drained(stream, 1_000) in (CSV * 500, CSV)
        assert fetched == [0]

    def test_a_large_archive_takes_two(self) -> None:
        data = bytes(range(256)) * 12_000
        archive = zipped({"watched.csv": data, "photo.jpg": data, "diary.csv": data}, zipfile.ZIP_STORED)
        fetched: list[int] = []
        reader = ObjectReader(counted(archive, fetched), len(archive))
        assert len(members(reader, len(archive))) == 3
        assert fetched == [len(archive) - KEPT]
        for path in ("watched.csv", "diary.csv"):  # each looks at the directory again
            stream = open_member(reader, len(archive), path)
            assert drained(stream, 1_000_000) == data
        assert fetched == [len(archive) - KEPT, 0, len(archive) - KEPT, 2 * (len(data) + 41) - 2]

    def test_range_requests_of_a_stream_read_to_its_end(self) -> None:
        data = bytes(10 << 20)
        archive = zipped({"watched.csv": data}, zipfile.ZIP_STORED)
        blob = Blob(archive)
        reader = ObjectReader(
            lambda offset: ObjectStream(blob, offset=offset, size=len(archive), generation=1), len(archive)
        )
        stream = open_member(reader, len(archive), "watched.csv")
        assert len(drained(stream, 300_000)) == len(data)
        assert blob.ranges == [
            (len(archive) - KEPT, len(archive) - 1),
            (0, BLOCK - 1),
            (BLOCK, 2 * BLOCK - 1),
            (2 * BLOCK, len(archive) - 1),
        ]

    def test_short_reads_of_the_stream_are_read_on(self) -> None:
        archive = zipped({"watched.csv": CSV * 500})

        class Drops(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(min(size or 0, 7))

        reader = ObjectReader(lambda offset: Drops(archive[offset:]), len(archive))
        stream = open_member(reader, len(archive), "watched.csv")
        assert drained(stream, 1_000) == CSV * 500

    def test_an_object_that_ends_before_its_size_is_gone(self) -> None:
        archive = zipped({"watched.csv": CSV})
        reader = ObjectReader(lambda offset: io.BytesIO(archive[offset:]), len(archive) + 100)
        with pytest.raises(ObjectGone):
            members(reader, len(archive) + 100)

    @given(st.lists(st.tuples(st.integers(0, 3 * KEPT), st.integers(1, KEPT)), max_size=10))
    @settings(deadline=None, max_examples=50)
    def test_every_read_is_of_the_right_place(self, reads: list[tuple[int, int]]) -> None:
        data = b"".join(number.to_bytes(4, "big") for number in range(KEPT // 2))
        reader = ObjectReader(counted(data, []), len(data))
        for offset, size in reads:
            assert reader.seek(offset) == offset
            taken = reader.read(size)
            assert taken == data[offset : offset + len(taken)]
            assert taken or offset >= len(data)


def counted(data: bytes, fetched: list[int]) -> Callable[[int], io.BytesIO]:
    def fetch(offset: int) -> io.BytesIO:
        fetched.append(offset)
        return io.BytesIO(data[offset:])

    return fetch


class Blob:
    """What ObjectStream needs of the client library's blob."""

    generation = 1

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    def download_as_bytes(self, *, start: int, end: int, **_: Any) -> bytes:
        self.ranges.append((start, end))
        return self.data[start : end + 1]
