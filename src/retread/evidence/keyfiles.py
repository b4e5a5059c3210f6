"""Keys as files."""

from __future__ import annotations

from pathlib import Path

from retread.doors import fs
from retread.errors import GateError, UsageError
from retread.evidence.signing import MAKE, NAME, PUBLIC, SECRET, Key, known


def new(path: Path, name: str) -> Key:
    """Make a key pair in the folder ``path``: ``<name>.key``, for its owner alone, and ``<name>.pub``."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a key", hint="use small letters, digits, '.', '_' and '-', 64 at most"
        )
    secret, public = path / f"{name}{SECRET}", path / f"{name}{PUBLIC}"
    for file in (secret, public):
        if file.exists():
            raise UsageError(f"{file} is there already", hint="take another name; a key is never overwritten")
    pair = Ed25519PrivateKey.generate()
    with fs.sibling(secret) as temporary:  # which only its owner may read from the start
        temporary.write_bytes(
            pair.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        )
    fs.write(
        public, pair.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return load(secret)


def load(path: Path) -> Key:
    """Return the key in ``<name>.key`` or ``<name>.pub``; GateError when it is none, or others may read a secret."""
    if path.suffix not in {SECRET, PUBLIC}:
        raise GateError(f"{path} is no key: its name ends with neither {SECRET} nor {PUBLIC}", hint=MAKE)
    if not NAME.fullmatch(path.stem):
        raise GateError(f"{path}: {path.stem!r} is no name of a key", hint="rename both halves")
    data = _read(path)
    if path.suffix == PUBLIC:
        return known(path.stem, _public_der(data, path))
    if path.stat().st_mode & 0o077:
        raise GateError(f"{path} is a secret that others may read", hint=f"run 'chmod 600 {path}'")
    key = _pair(data, path)
    beside = path.with_suffix(PUBLIC)
    if beside.exists() and _public_der(_read(beside), beside) != key.public:
        raise GateError(f"{path} and {beside.name} beside it are not one pair", hint=MAKE)
    return key


def secret(path: Path) -> Key:
    """Return the pair in ``<name>.key``; UsageError for a public half, which signs nothing, else as ``load``."""
    key = load(path)
    if key.secret is None:
        raise UsageError(
            f"{path} is a public key, which signs nothing", hint=f"name its other half, {key.name}{SECRET}"
        )
    return key


def every(path: Path) -> tuple[Key, ...]:
    """Return the keys of a folder by name, each with its secret where that is there."""
    files = {file.stem: file for suffix in (PUBLIC, SECRET) for file in fs.listed(path, suffix)}
    return tuple(load(files[name]) for name in sorted(files))


def _pair(data: bytes, path: Path) -> Key:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        pair = form.load_pem_private_key(data, None)
    except TypeError:
        raise GateError(f"{path} is locked with a password", hint="unlock it where it is used") from None
    except (ValueError, UnsupportedAlgorithm):
        raise GateError(f"{path} is no private key in PEM", hint=MAKE) from None
    if not isinstance(pair, Ed25519PrivateKey):
        raise GateError(f"{path} is a private key, but no ed25519 one", hint=MAKE)
    public = pair.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    secret = pair.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption())
    return known(path.stem, public)._replace(secret=secret)


def _public_der(data: bytes, path: Path) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    try:
        public = form.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise GateError(f"{path} is no public key in PEM", hint=MAKE) from None
    return public.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GateError(f"cannot read {path}: {error.strerror}", hint=MAKE) from None
