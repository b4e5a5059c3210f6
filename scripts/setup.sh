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

if ! [ -x "$VENV/bin/pip" ]; then
	rm -rf "$VENV"
	"$PYTHON" -m venv "$VENV" || {
		echo "setup: $PYTHON cannot make a virtual environment; on Debian install python3-venv"; rm -rf "$VENV"; exit 1; }
fi
pip() { "$VENV/bin/pip" install --quiet --disable-pip-version-check "$@"; }
if [ "${LOCK:-}" ]; then
	locked=.github/locks/$LOCK.txt
	[ -f "$locked" ] || { echo "setup: there is no lock $locked (make locks)"; exit 1; }
	echo "setting up $VENV: $locked"
	pip --require-hashes --only-binary :all: --requirement "$locked"
	pip --no-deps --no-build-isolation --editable .
else
	echo "setting up $VENV: $1"
	pip --editable "$1"
fi

# The tests hold their own reading of ELF and zip against the classic tools, compile a small project, serve an index,
# reach a machine by ssh and build in a container.
case "$1" in *dev*) "$(dirname "$0")/machine.sh";; *) exit;; esac

# pip compiles what it installs, but not what it leaves in its place; every worker of the tests would.
PYTHONPYCACHEPREFIX='' "$VENV/bin/python" -m compileall -q -j 0 src scripts tests/helpers
