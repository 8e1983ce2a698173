"""Who is erased: keyed hashes, and what happens without the key."""

import hashlib
import hmac
import pickle

import pytest

from include.common.erasure.erasures import (
    LEAST_KEY_LENGTH,
    ErasedReaders,
    checked_key,
    digest_of,
)
from include.common.settings import SettingsError

KEY = b"k" * LEAST_KEY_LENGTH


def test_a_digest_is_hmac_sha_256_of_the_id() -> None:
    assert digest_of("u000001", KEY) == hmac.new(KEY, b"u000001", hashlib.sha256).hexdigest()


def test_another_key_tells_others() -> None:
    assert digest_of("u000001", KEY) != digest_of("u000001", b"l" * LEAST_KEY_LENGTH)


def test_erased_readers_are_told_from_others_also_the_second_time() -> None:
    erased = ErasedReaders([digest_of("u000001", KEY)], KEY)
    assert [user in erased for user in ("u000001", "u000002", "u000001", "u000002")] == [True, False] * 2
    assert erased.among(["u000002", "u000001", "u000003", "u000001"]) == {"u000001"}


def test_nobody_is_erased_where_nobody_asked() -> None:
    nobody = ErasedReaders()
    assert not nobody
    assert "u000001" not in nobody


def test_workers_get_the_verdict_but_no_id_that_was_looked_up() -> None:
    erased = ErasedReaders([digest_of("u000001", KEY)], KEY)
    assert "u000001" in erased
    raw = pickle.dumps(erased)
    assert b"u000001" not in raw
    assert "u000001" in pickle.loads(raw)
    assert "u000001" not in repr(erased)


def test_a_short_key_is_refused_and_a_missing_one_where_it_is_needed() -> None:
    with pytest.raises(SettingsError, match="openssl rand"):
        checked_key("short")
    with pytest.raises(SettingsError, match="at least 32"):
        checked_key("")
    assert checked_key("", required=False) == b""
    assert checked_key("k" * 32) == KEY
