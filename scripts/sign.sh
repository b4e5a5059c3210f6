#!/bin/sh
# Sign the statements in a folder that are made in a key's name: sign.sh NAME FOLDER
#   RETREAD_KEY   the text of the key's .key file; nothing prints it, and it goes with its folder at every end
# Nothing but the statements is needed here: no wheel, no report, no index.
set -eu

name=${1:-} folder=${2:-}
[ "${RETREAD_KEY:-}" ] || {
	echo "sign: missing or empty: RETREAD_KEY; nothing was signed" >&2
	echo "  RETREAD_KEY: signs the statements: the text of ${name:-NAME}'s .key file ('retread key new')" >&2
	exit 2
}
[ "$name" ] && [ "$folder" ] || {
	echo "sign: name the key, as the policy does, and the folder of the statements: make sign KEY=NAME" >&2; exit 2; }
umask 077
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
printf '%s\n' "$RETREAD_KEY" > "$keys/$name.key"
unset RETREAD_KEY
"${RETREAD:-retread}" sign "$folder" --key "$keys/$name.key"
