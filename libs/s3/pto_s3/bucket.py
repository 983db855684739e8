"""One bucket, one request at a time: write once, replace, read, list. Blocking; used from the pool's threads.

Imports siblings. Invariant: every object written here carries the SHA-256 of its whole content as metadata, and what is
read is checked against it. The answer to a write is never trusted alone: where it fails or gets lost, what lies there
is looked at.
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from pto_s3 import limits
from pto_s3.errors import ConditionFailed, ObjectDamaged, ObjectMissing, OtherContent, OtherWriter, S3Away, translated

DIGEST = "sha256"
"""Name of the metadata that holds the digest of the whole content; S3's own is one of parts for objects in parts."""

PARTIAL = (".s3-", ".tmp")
"""How files begin and end that are still being fetched."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An object that is there."""

    key: str
    etag: str
    size: int
    sha256: str = ""
    """As its writer noted it; empty in listings, and for objects that others wrote."""


class Bucket:
    """A bucket behind a boto3 client; may be used by several threads."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def put_once(self, key: str, data: bytes) -> bool:
        """Write unless something is there. True: written; False: these very bytes were there. Raises OtherContent."""
        digest = hashlib.sha256(data).digest()
        try:
            self._put(key, data, digest, IfNoneMatch="*")
        except ConditionFailed:
            self.expect(key, digest.hex())
            return False
        return True

    def expect(self, key: str, sha256: str) -> None:
        """Look whether exactly this lies there. Raises OtherContent, ObjectMissing."""
        if self.digest_of(key) != sha256:
            raise OtherContent(f"s3://{self.name}/{key} holds another content, which was there first and stays")

    def replace(self, key: str, data: bytes, known: str) -> str:
        """Write over the object whose ETag is ``known`` (empty: over nothing); returns its ETag. Raises OtherWriter."""
        digest = hashlib.sha256(data).digest()
        condition = {"IfMatch": known} if known else {"IfNoneMatch": "*"}
        try:
            return self._put(key, data, digest, **condition)
        except (ConditionFailed, ObjectMissing, S3Away) as error:
            # Perhaps it was our own write whose answer got lost.
            there = self.head(key)
            if there is not None and there.sha256 == digest.hex():
                return there.etag
            if isinstance(error, S3Away):
                raise
            if there is None and known:
                return self.replace(key, data, "")  # somebody has deleted it, which makes nobody its writer
            raise OtherWriter(
                f"s3://{self.name}/{key} was written by somebody else; its one writer is not this one"
            ) from error

    def _put(self, key: str, data: bytes, digest: bytes, **condition: str) -> str:
        with translated(self.name, "s3:PutObject", key):
            answer = self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=data,
                ChecksumSHA256=base64.b64encode(digest).decode(),
                Metadata={DIGEST: digest.hex()},
                **condition,
            )
        return str(answer["ETag"])

    def head(self, key: str) -> Stored | None:
        """What lies there, or None."""
        try:
            with translated(self.name, "s3:GetObject", key):
                answer = self.client.head_object(Bucket=self.name, Key=key)
        except ObjectMissing:
            return None
        return Stored(key, answer["ETag"], answer["ContentLength"], answer["Metadata"].get(DIGEST, ""))

    def digest_of(self, key: str) -> str:
        """SHA-256 of the object: as noted, else by reading it. Raises ObjectMissing."""
        there = self.head(key)
        if there is None:
            raise ObjectMissing(f"there is no s3://{self.name}/{key}")
        return there.sha256 or self._copy(key, None)

    def get(self, key: str) -> bytes:
        """The whole object, checked; for small ones. Raises ObjectMissing, ObjectDamaged."""
        with translated(self.name, "s3:GetObject", key):
            answer = self.client.get_object(Bucket=self.name, Key=key)
            data = bytes(answer["Body"].read())
        self._check(key, answer["Metadata"].get(DIGEST, ""), hashlib.sha256(data).hexdigest())
        return data

    def get_file(self, key: str, path: Path, sha256: str = "", *, over: bool = True) -> None:
        """Write the object to ``path``, checked, whole or not at all; without ``over`` only if nothing is there.

        Raises ObjectMissing, ObjectDamaged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=PARTIAL[0], suffix=PARTIAL[1], delete=False) as file:
            try:
                self._check(key, sha256, self._copy(key, file))
                file.flush()
                os.fsync(file.fileno())
                if over:
                    Path(file.name).replace(path)
                else:
                    with suppress(FileExistsError):
                        path.hardlink_to(file.name)
            finally:
                with suppress(FileNotFoundError):
                    Path(file.name).unlink()

    def _copy(self, key: str, into: IO[bytes] | None) -> str:
        """Read it through, into a file if one is given; returns its digest."""
        hasher = hashlib.sha256()
        with translated(self.name, "s3:GetObject", key):
            answer = self.client.get_object(Bucket=self.name, Key=key)
        blocks = answer["Body"].iter_chunks(limits.COPY_BYTES)
        while True:
            with translated(self.name, "s3:GetObject", key):
                block = next(blocks, b"")
            if not block:
                break
            hasher.update(block)
            if into is not None:
                into.write(block)
        self._check(key, answer["Metadata"].get(DIGEST, ""), hasher.hexdigest())
        return hasher.hexdigest()

    def _check(self, key: str, noted: str, found: str) -> None:
        if noted and noted != found:
            raise ObjectDamaged(
                f"s3://{self.name}/{key} does not match its digest {noted}: delete it and write it again"
            )

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """All objects under the prefix, in the order of their keys, from the first key behind ``after``."""
        pages = iter(
            self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix, StartAfter=after)
        )
        while True:
            with translated(self.name, "s3:ListBucket"):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", ()):
                yield Stored(found["Key"], found["ETag"], found["Size"])

    def delete(self, key: str) -> None:
        """Remove the object; harmless if it is not there."""
        with translated(self.name, "s3:DeleteObject", key):
            self.client.delete_object(Bucket=self.name, Key=key)
