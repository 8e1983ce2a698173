"""Readers who are erased: told by a keyed hash, so that whoever filters by it does not keep their ids.

`ops.erasures` holds HMAC-SHA-256 of each erased user_id. The key is a secret (connection erasure_key, WEBTOON_ERASURE_KEY in
jobs); without it nobody can tell from the table who was erased, not even by trying ids. Every reader of Kafka filters by
`ErasedReaders`. While a search for the reader still goes on, the id is there too, encrypted with the same key.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from include.common.names import Pg
from include.common.settings import ERASURE_KEY_VARIABLE, SettingsError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

LEAST_KEY_LENGTH = 32
SENSITIVE_NAMES = "user_id,traced_value"
"""[core] sensitive_var_conn_names: fields of forms that Airflow's audit log must not hold."""
_REMEMBERED = 200_000
"""User ids whose verdict a process remembers: 40 MB at most."""


@dataclass(frozen=True)
class Erasure:
    """One reader's erasure. `user_id` is None once it is proven and forgotten."""

    erasure_id: int
    digest: str
    user_id: str | None


def erasure_key(required: bool = True) -> bytes:
    """The key of WEBTOON_ERASURE_KEY; empty where it is not set and not `required`. Raises SettingsError."""
    return checked_key(os.environ.get(ERASURE_KEY_VARIABLE, ""), required=required)


def checked_key(text: str, *, required: bool = True) -> bytes:
    """`text` as the key. Raises SettingsError for one that is too short, or missing though it is `required`."""
    if not text and not required:
        return b""
    if len(text) < LEAST_KEY_LENGTH:
        raise SettingsError(
            f"the key of erasures ({ERASURE_KEY_VARIABLE}, password of connection erasure_key) has {len(text)} characters, at "
            f"least {LEAST_KEY_LENGTH} are needed: make one with `openssl rand -hex 32` and keep it: who is erased is "
            f"not recognized by another one"
        )
    return text.encode()


def digest_of(user_id: str, key: bytes) -> str:
    """HMAC-SHA-256 of the id's UTF-8 bytes, 64 hexadecimal digits (RFC 2104)."""
    return hmac.digest(key, user_id.encode(), hashlib.sha256).hex()


class ErasedReaders:
    """Which user_ids are erased. Picklable, so that Spark's workers have it; false where there is none."""

    def __init__(self, digests: Iterable[str] = (), key: bytes = b"") -> None:
        self.digests = frozenset(digests)
        self._key = key
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.digests)

    def __contains__(self, user_id: str) -> bool:
        """Is this reader erased? About 2 us for an id the first time, then a look into a dict."""
        if not self.digests:
            return False
        known = self._known.get(user_id)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[user_id] = digest_of(user_id, self._key) in self.digests
        return known

    def among(self, user_ids: Iterable[str]) -> set[str]:
        """Those of `user_ids` that are erased."""
        return {user_id for user_id in set(user_ids) if user_id in self}

    def __reduce__(self) -> "tuple[type[ErasedReaders], tuple[frozenset[str], bytes]]":
        return ErasedReaders, (self.digests, self._key)

    def __repr__(self) -> str:
        return f"ErasedReaders({len(self.digests)})"


def erased_readers(connection: psycopg.Connection, key: bytes) -> ErasedReaders:
    """Everyone whose erasure was ever requested. Raises SettingsError where there is somebody and no `key`."""
    digests = [row[0] for row in connection.execute(f"SELECT subject_digest FROM {Pg.ERASURES}")]  # noqa: S608  a constant
    if digests and not key:
        raise SettingsError(
            f"{len(digests)} readers are erased, and without the key nobody can tell who: set {ERASURE_KEY_VARIABLE} "
            f"(password of connection erasure_key)"
        )
    return ErasedReaders(digests, key)


def open_erasure(connection: psycopg.Connection, *, user_id: str, reason: str, key: bytes) -> Erasure:
    """The reader's erasure, requested now unless it was before; a proven one is opened again."""
    digest = digest_of(user_id, key)
    row = connection.execute(
        f"INSERT INTO {Pg.ERASURES} AS e (subject_digest, subject_encrypted, reason) VALUES (%s, %s, %s)"  # noqa: S608  a constant
        " ON CONFLICT (subject_digest) DO UPDATE SET subject_encrypted = excluded.subject_encrypted, proven_at = NULL"
        " RETURNING erasure_id",
        (digest, _fernet(key).encrypt(user_id.encode()), reason),
    ).fetchone()
    assert row is not None
    return Erasure(int(row[0]), digest, user_id)


def pending(connection: psycopg.Connection, key: bytes, store: str) -> list[Erasure]:
    """Erasures that `store` has not done yet, the oldest first."""
    return _erasures(
        connection,
        key,
        f"WHERE subject_encrypted IS NOT NULL AND NOT EXISTS (SELECT FROM {Pg.ERASURE_STEPS} AS step"
        " WHERE step.erasure_id = e.erasure_id AND step.store = %s)",
        store,
    )


def find_erasure(connection: psycopg.Connection, key: bytes, erasure_id: int) -> Erasure:
    """Erasure `erasure_id`; raises LookupError for an unknown one."""
    found = _erasures(connection, key, "WHERE erasure_id = %s", erasure_id)
    if not found:
        raise LookupError(f"no erasure {erasure_id} in {Pg.ERASURES}")
    return found[0]


def record_step(
    connection: psycopg.Connection, erasure_id: int, store: str, removed: int, detail: str = "{}"
) -> None:
    """Say that `store` has removed the reader's rows; a repeat adds to what was removed. `detail`: a JSON object."""
    connection.execute(
        f"INSERT INTO {Pg.ERASURE_STEPS} AS step (erasure_id, store, removed, detail) VALUES (%s, %s, %s, %s)"  # noqa: S608  a constant
        " ON CONFLICT (erasure_id, store) DO UPDATE SET removed = step.removed + excluded.removed,"
        " detail = excluded.detail, done_at = excluded.done_at",
        (erasure_id, store, removed, detail),
    )


def _erasures(connection: psycopg.Connection, key: bytes, where: str, value: object) -> list[Erasure]:
    rows = connection.execute(
        f"SELECT erasure_id, subject_digest, subject_encrypted FROM {Pg.ERASURES} AS e {where} ORDER BY erasure_id",  # noqa: S608  constants
        (value,),
    ).fetchall()
    if not rows:
        return []
    return [
        Erasure(int(number), digest, None if encrypted is None else _decrypt(bytes(encrypted), key))
        for number, digest, encrypted in rows
    ]


def _decrypt(encrypted: bytes, key: bytes) -> str:
    from cryptography.fernet import InvalidToken

    try:
        return _fernet(key).decrypt(encrypted).decode()
    except InvalidToken:
        raise SettingsError(
            f"the key of erasures ({ERASURE_KEY_VARIABLE}, connection erasure_key) is not the one that {Pg.ERASURES} was written "
            f"with: restore that one"
        ) from None


def _fernet(key: bytes) -> "Fernet":
    from cryptography.fernet import Fernet

    return Fernet(base64.urlsafe_b64encode(hmac.digest(key, b"subject of an erasure", hashlib.sha256)))
