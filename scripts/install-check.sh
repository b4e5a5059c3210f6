#!/bin/sh
# Install a wheel as its users do and import it: install-check.sh ADDRESS WHEEL
# pip gets the wheel from the index at ADDRESS alone, so that no other index can answer for its name, into a fresh
# environment; what the wheel requires comes from the index that pip is set to. With TORCH, a Python that has it, nothing
# else is installed.
set -eu

address=${1%/} wheel=$2
[ "$address" ] || { echo "install-check: name the index: ADDRESS=https://..." >&2; exit 2; }
name=${wheel##*/}
project=${name%%-*}
rest=${name#*-}
version=${rest%%-*}
local=${version#*+}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
PIP_CONFIG_FILE=/dev/null PIP_EXTRA_INDEX_URL='' PIP_FIND_LINKS='' PIP_INDEX_URL="$address/${local%%.*}/simple/" \
	pip download --no-deps --no-cache-dir --only-binary :all: \
	--dest "$folder" "$project==$version"
cmp "$folder/$name" "$wheel" || { echo "install-check: the index has other bytes than $wheel" >&2; exit 1; }
if [ "${TORCH:-}" ]; then
	"$TORCH" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$(echo "$folder"/venv/lib/python3*/site-packages)/torch.pth"
	pip install --no-deps "$folder/$name"
else
	pip install "$folder/$name"
fi
cd "$folder"
venv/bin/python -c 'import importlib, importlib.metadata, sys
importlib.import_module(sys.argv[1])
found = importlib.metadata.version(sys.argv[1])
assert found == sys.argv[2], found
print("installed and imported:", sys.argv[1], found)' "$project" "$version"
