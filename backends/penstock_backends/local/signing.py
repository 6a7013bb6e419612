"""Signatures of what a shared store holds: nothing is believed that was not written by one who has the store's key.

Artifacts may be pickled, and unpickling runs whatever the writer wants. Objects are checked against their digests, but
the records that name these digests have to come from somebody who is trusted. So each record, and each file of a run,
begins with a line that only the key can make: an HMAC over its name and its bytes. A file moved to another name, or
changed by a bit, counts as missing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock_backends.local.objects import is_own

VARIABLE = "PENSTOCK_STORE_KEY"
SCHEME = b"hmac-sha256"
SHORTEST = 16


class UntrustedError(Exception):
    """A file was not signed with the store's key, or is not what was signed; the message says which.

    ``is_foreign`` says that another key may have signed it.
    """

    def __init__(self, why: str, is_foreign: bool = False) -> None:
        super().__init__(why)
        self.is_foreign = is_foreign


class Signer:
    """Signs files with one key, and opens those that were."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._name = hashlib.sha256(b"penstock store key\0" + key).hexdigest()[:8].encode("ascii")

    def signed(self, name: str, content: bytes) -> bytes:
        """The bytes to store under a name."""
        return b" ".join((SCHEME, self._name, self._signature(name, content))) + b"\n" + content

    def opened(self, name: str, stored: bytes) -> bytes:
        """What was signed, from the bytes that were stored under a name. Raises `UntrustedError`."""
        line, _, content = stored.partition(b"\n")
        scheme, _, rest = line.partition(b" ")
        key, _, signature = rest.partition(b" ")
        if scheme != SCHEME:
            raise UntrustedError("is not signed")
        if key != self._name:
            raise UntrustedError(f"was signed with another key ({key[:8].decode('ascii', 'replace')})", is_foreign=True)
        if not hmac.compare_digest(signature, self._signature(name, content)):
            raise UntrustedError("is not what was signed")
        return content

    def _signature(self, name: str, content: bytes) -> bytes:
        return hmac.new(self._key, name.encode() + b"\0" + content, "sha256").hexdigest().encode("ascii")


def content_of(stored: bytes) -> bytes:
    """What was signed, by whomever: not to be believed."""
    return stored.partition(b"\n")[2]


def signer_for(variable: str | None) -> Signer:
    """The signer with the key that an environment variable holds.

    By default that is ``PENSTOCK_STORE_KEY`` where it is set, else a key of this user's own, which is made when it is
    first needed, and kept in their configuration folder.

    Raises:
        ConfigurationError: the variable that was named is not set; its key is too short to keep anyone out; the user's
            own is not theirs alone.
    """
    name = variable or VARIABLE
    given = os.environ.get(name, "")
    if not given and variable is None:
        return Signer(_own_key())
    if len(given) < SHORTEST:
        said = f"is {len(given)} characters long" if given else "is not set"
        message = f"the key of the store is to be in the environment variable {name}, which {said}"
        fix = f"set it to a secret of at least {SHORTEST} characters, the same for all who share the store"
        raise ConfigurationError(Diagnostic("P729", message, fix=fix))
    return Signer(given.encode())


def _own_key() -> bytes:
    file = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "penstock" / "store.key"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        draft = file.with_name(f"store.key.{secrets.token_hex(4)}")
        draft.touch(0o600, exist_ok=False)
        draft.write_text(secrets.token_hex(32), encoding="ascii")
        with suppress(FileExistsError):
            os.link(draft, file)  # of two that make one at once, the first one's counts
        draft.unlink()
    if not is_own(file.stat()) or file.stat().st_mode & 0o077:
        message = f"the key of the store, {file}, can be read by other users, or is theirs"
        raise ConfigurationError(
            Diagnostic("P729", message, fix=f"`chmod 600 {file}`; or remove it, to have a new one")
        )
    return file.read_bytes()
