#!/bin/sh
# Make the environment in $VENV from $PYTHON and install $1 (retread, with or without the developers' tools) into it;
# say plainly what is missing. Where LOCK names a lock of the workflows (.github/locks), what that pins is installed, every
# file by hash and none of it built, and nothing else.
set -eu

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

command -v "$PYTHON" >/dev/null || { echo "setup: there is no $PYTHON; install Python 3.11 or newer, or set PYTHON="; exit 1; }
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	echo "setup: $("$PYTHON" --version) is too old; retread needs Python 3.11 or newer (set PYTHON=)"; exit 1; }
command -v git >/dev/null || { echo "setup: there is no git; it applies the patches"; exit 1; }

pip() {
	if [ -x "$VENV/bin/pip" ]; then "$VENV/bin/pip" "$@"; else "$PYTHON" -m pip --python "$VENV/bin/python" "$@"; fi
}
if ! [ -x "$VENV/bin/pip" ]; then
	rm -rf "$VENV"
	# A pip that is there serves the new environment, too: 0.2 s instead of 3 s for another.
	{ "$PYTHON" -m venv --without-pip "$VENV" && pip --version; } >/dev/null 2>&1 || "$PYTHON" -m venv "$VENV" || {
		echo "setup: $PYTHON cannot make a virtual environment; on Debian install python3-venv"; rm -rf "$VENV"; exit 1; }
fi

# uv installs in 2 s what takes pip 10, and pip gets uv where it is not there. uv asks the index that pip is told of; what
# else pip is told (folders of wheels, a proxy) may be what makes it succeed where uv does not.
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
[ "$index" ] || index=$("$PYTHON" -m pip config list 2>/dev/null | sed -n "s/^[a-z]*\.index-url='\(.*\)'$/\1/p" | tail -n 1)
with_uv() {
	uv=$(command -v uv) || { uv=$VENV/bin/uv; [ -x "$uv" ] || with_pip uv; } || return
	env ${index:+"UV_DEFAULT_INDEX=$index"} "$uv" pip install --quiet --python "$VENV/bin/python" pip "$@" 2>/dev/null
}
with_pip() { pip install --quiet --disable-pip-version-check "$@"; }
if [ "${LOCK:-}" ]; then
	locked=.github/locks/$LOCK.txt
	[ -f "$locked" ] || { echo "setup: there is no lock $locked (make locks)"; exit 1; }
	echo "setting up $VENV: $locked"
	with_pip --require-hashes --only-binary :all: --requirement "$locked"
	with_pip --no-deps --no-build-isolation --editable .
else
	echo "setting up $VENV: $1"
	with_uv --editable "$1" || with_pip pip --editable "$1"
fi

# Where Python may write no bytecode, as in many containers, every start would compile all again: it takes twice as long.
# pip compiles what it installs, but not what it leaves in its place, and uv compiles nothing.
compiled() { PYTHONPYCACHEPREFIX='' "$VENV/bin/python" -m compileall -q -j 0 "$@"; }
[ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compiled src "$VENV"/lib >/dev/null || : # some packages bring files for other Pythons

# The tests hold their own reading of ELF and zip against the classic tools, compile a small project, serve an index,
# reach a machine by ssh and build in a container.
case "$1" in *dev*) "$(dirname "$0")/machine.sh";; *) exit;; esac

# Every worker of the tests would compile these.
compiled src scripts tests/helpers
