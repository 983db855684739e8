"""Files of any size, written once; big ones in parts, and after a cut from the first part that is missing.

Imports siblings. Invariants: the object appears whole or not at all, and only if nothing was there; at most one part
per thread is in memory; a part is skipped only if S3 holds exactly its bytes.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from pto_s3 import limits
from pto_s3.bucket import DIGEST, Bucket
from pto_s3.errors import ConditionFailed, ObjectMissing, S3Denied, translated
from pto_s3.pool import Pool


class Part(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the file: number from 1, first byte, length, and its digests."""

    number: int
    start: int
    length: int
    sha256: str
    """In base64, as S3 writes it."""
    md5: str
    """The part's ETag where S3 does not encrypt with a key of the customer's."""


class Told(msgspec.Struct, frozen=True):
    """A part that S3 has."""

    etag: str
    sha256: str = ""


def part_size(size: int) -> int:
    """Bytes per part for a file of this size: the same for every try, so that parts of an earlier one fit."""
    least = -(-size // limits.MAX_PARTS)
    return max(limits.PART_BYTES, -(-least // (1 << 20)) * (1 << 20))


def put_file_once(bucket: Bucket, key: str, path: Path, pool: Pool) -> bool:
    """As ``Bucket.put_once`` for a file that does not change any more. Not from a thread of the pool.

    Raises OtherContent, FileNotFoundError.
    """
    if path.stat().st_size <= limits.PART_BYTES:
        return bucket.put_once(key, path.read_bytes())
    parts, digest = measure(path)
    if bucket.head(key) is not None:
        bucket.expect(key, digest)
        return False
    return _Upload(bucket, key, path, digest).run(parts, pool)


def measure(path: Path) -> tuple[list[Part], str]:
    """The parts of a file and the digest of the whole, in one reading."""
    whole = hashlib.sha256()
    parts: list[Part] = []
    length, start = part_size(path.stat().st_size), 0
    with path.open("rb") as file:
        while block := file.read(length):
            whole.update(block)
            sha256 = base64.b64encode(hashlib.sha256(block).digest()).decode()
            md5 = hashlib.md5(block, usedforsecurity=False).hexdigest()
            parts.append(Part(len(parts) + 1, start, len(block), sha256, md5))
            start += len(block)
    return parts, whole.hexdigest()


def is_there(part: Part, told: Told | None) -> bool:
    """Whether S3 holds these very bytes as this part."""
    if told is None:
        return False
    return told.sha256 == part.sha256 if told.sha256 else told.etag.strip('"') == part.md5


def fits(parts: list[Part], told: Mapping[int, Told]) -> bool:
    """Whether an upload with these parts can become this file: none of them is another's."""
    ours = {part.number: part for part in parts}
    return all(number in ours and is_there(ours[number], there) for number, there in told.items())


class _Upload:
    def __init__(self, bucket: Bucket, key: str, path: Path, digest: str) -> None:
        self._bucket = bucket
        self._client = bucket.client
        self._key = key
        self._path = path
        self._digest = digest
        self._id = ""
        self._told: dict[int, Told] = {}

    def run(self, parts: list[Part], pool: Pool) -> bool:
        earlier = self._begun_earlier(parts)
        self._id, self._told = earlier or (self._begin(), {})
        try:
            self._finish(parts, pool, IfNoneMatch="*")
        except (ConditionFailed, ObjectMissing):
            # Somebody was faster, or it was this very request, and its answer got lost.
            self._abort(self._id)
            self._bucket.expect(self._key, self._digest)
            return False
        there = self._bucket.head(self._key) if earlier is not None else None
        if there is not None and there.sha256 != self._digest:
            # The earlier upload was of another version that began the same; the digest it noted stays with it.
            self._id, self._told = self._begin(), {}
            self._finish(parts, pool, IfMatch=there.etag)
        with suppress(S3Denied):
            for upload in self._uploads():
                self._abort(upload)
        return True

    def _finish(self, parts: list[Part], pool: Pool, **condition: str) -> None:
        pool.each(self._send, [part for part in parts if not is_there(part, self._told.get(part.number))])
        self._complete(parts, condition)

    def _begun_earlier(self, parts: list[Part]) -> tuple[str, dict[int, Told]] | None:
        """The upload of these parts that has come farthest, if one was begun; none if this role may not look."""
        with suppress(S3Denied):
            begun = [(upload, self._parts_of(upload)) for upload in self._uploads()]
            fitting = [one for one in begun if fits(parts, one[1])]
            return max(fitting, key=lambda one: len(one[1]), default=None)
        return None

    def _uploads(self) -> Iterator[str]:
        pages = self._client.get_paginator("list_multipart_uploads")
        with translated(self._bucket.name, "s3:ListBucketMultipartUploads"):
            found = list(pages.paginate(Bucket=self._bucket.name, Prefix=self._key))
        return (up["UploadId"] for page in found for up in page.get("Uploads", ()) if up["Key"] == self._key)

    def _parts_of(self, upload: str) -> dict[int, Told]:
        pages = self._client.get_paginator("list_parts")
        try:
            with translated(self._bucket.name, "s3:ListMultipartUploadParts", self._key):
                found = list(pages.paginate(Bucket=self._bucket.name, Key=self._key, UploadId=upload))
        except ObjectMissing:
            return {}
        return {
            part["PartNumber"]: Told(part["ETag"], part.get("ChecksumSHA256", ""))
            for page in found
            for part in page.get("Parts", ())
        }

    def _begin(self) -> str:
        with translated(self._bucket.name, "s3:PutObject", self._key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket.name, Key=self._key, ChecksumAlgorithm="SHA256", Metadata={DIGEST: self._digest}
            )
        return str(answer["UploadId"])

    def _send(self, part: Part) -> None:
        with self._path.open("rb") as file:
            file.seek(part.start)
            block = file.read(part.length)
        with translated(self._bucket.name, "s3:PutObject", self._key):
            answer = self._client.upload_part(
                **self._names(), PartNumber=part.number, Body=block, ChecksumSHA256=part.sha256
            )
        self._told[part.number] = Told(answer["ETag"], part.sha256)

    def _complete(self, parts: list[Part], condition: dict[str, str]) -> None:
        listed = [
            {"PartNumber": part.number, "ETag": self._told[part.number].etag, "ChecksumSHA256": part.sha256}
            for part in parts
        ]
        with translated(self._bucket.name, "s3:PutObject", self._key):
            self._client.complete_multipart_upload(**self._names(), MultipartUpload={"Parts": listed}, **condition)

    def _abort(self, upload: str) -> None:
        with suppress(ObjectMissing, S3Denied), translated(self._bucket.name, "s3:AbortMultipartUpload", self._key):
            self._client.abort_multipart_upload(**self._names() | {"UploadId": upload})

    def _names(self) -> dict[str, Any]:
        return {"Bucket": self._bucket.name, "Key": self._key, "UploadId": self._id}
