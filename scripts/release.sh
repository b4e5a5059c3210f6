#!/bin/sh
# Sign what is known of the wheels in a folder and list them in the index, through the gate: release.sh FOLDER PLAN
# PLAN, which 'retread release plan' wrote, says which wheels a release must have; with one missing none is listed.
#   RETREAD_INDEX         a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX; a bucket in S3 needs AWS_ACCESS_KEY_ID and
#                         AWS_SECRET_ACCESS_KEY, too
#   RETREAD_BUILDER_KEY   the text of the builder's .key file, and of the tester's:
#   RETREAD_TESTER_KEY    the policy knows them as RETREAD_BUILDER_NAME and RETREAD_TESTER_NAME (builder, tester)
#   RETREAD_POLICY        default: index-policy.toml; RETREAD_BASE is the address that the pages name
# What is missing is said, with what it is for, before anything is signed or listed (exit code 2). No secret is printed.
set -eu

folder=${1:-} plan=${2:-}
retread=${RETREAD:-retread}
policy=${RETREAD_POLICY:-index-policy.toml}

# What a variable is for, one line each.
means() {
	case $1 in
	RETREAD_INDEX) echo "where the wheels are listed: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX";;
	RETREAD_BUILDER_KEY) echo "signs what is said of the build: the text of the builder's .key file ('retread key new')";;
	RETREAD_TESTER_KEY) echo "signs what is said of the tests: the text of the tester's .key file ('retread key new')";;
	AWS_*) echo "who may write to $RETREAD_INDEX, as its provider names them";;
	esac
}

wanted="RETREAD_INDEX RETREAD_BUILDER_KEY RETREAD_TESTER_KEY"
case "${RETREAD_INDEX:-}" in s3://*) wanted="$wanted AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY";; esac
missing=
for name in $wanted; do
	eval "[ \"\${$name:-}\" ]" || missing="$missing $name"
done
if [ "$missing" ]; then
	echo "release: missing or empty:$missing; nothing was signed or listed" >&2
	for name in $missing; do echo "  $name: $(means "$name")" >&2; done
	exit 2
fi
[ "$folder" ] && [ "$plan" ] || {
	echo "release: name the folder of the wheels and the plan of the release: release.sh FOLDER PLAN" >&2; exit 2; }
[ -f "$policy" ] || { echo "release: there is no policy $policy, which says whose keys count (docs/concepts/publishing-keys.md)" >&2; exit 2; }
[ -f "$plan" ] || { echo "release: there is no plan $plan of the release; make one: make release-plan" >&2; exit 2; }
set -- "$folder"/*.whl
[ -f "$1" ] || { echo "release: there is no wheel in $folder/" >&2; exit 2; }

umask 077
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
builder=$keys/${RETREAD_BUILDER_NAME:-builder}.key
tester=$keys/${RETREAD_TESTER_NAME:-tester}.key
printf '%s\n' "$RETREAD_BUILDER_KEY" > "$builder"
printf '%s\n' "$RETREAD_TESTER_KEY" > "$tester"
unset RETREAD_BUILDER_KEY RETREAD_TESTER_KEY

umask 022
for wheel; do
	"$retread" attest "$wheel" --builder "$builder" --tester "$tester" >&2
done
"$retread" publish "$@" --index "$RETREAD_INDEX" --policy "$policy" --release "$plan" ${RETREAD_BASE:+--base "$RETREAD_BASE"}
"$retread" index check "$RETREAD_INDEX" --policy "$policy" >&2
