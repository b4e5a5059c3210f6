#!/bin/sh
# The steps of a build in a container that cibuildwheel leaves to its user.
#   container.sh cache                  start the compile cache
#   container.sh repair <wheel> <into>  tag the wheel as what it needs of a machine says
#   container.sh try <wheel>            the static smoke tests
set -euf
case $1 in
cache)
	[ "${RETREAD_CACHE:-}" ] || exit 0
	"$RETREAD_CACHE" --start-server >"$RETREAD_CACHE_LOG" 2>&1 || {
		echo "retread: the compile cache did not start:" >&2
		cat "$RETREAD_CACHE_LOG" >&2
		exit 97
	}
	;;
repair)
	if [ "${RETREAD_CACHE:-}" ]; then
		"$RETREAD_CACHE" --show-stats --stats-format json >"$RETREAD_CACHE_STATS" 2>/dev/null || :
		"$RETREAD_CACHE" --stop-server >/dev/null 2>&1 || :
	fi
	options=
	for one in $RETREAD_EXCLUDE; do options="$options --exclude $one"; done
	# shellcheck disable=SC2086 # words are meant
	python -m auditwheel repair $options --wheel-dir "$3" "$2"
	;;
try)
	python "$RETREAD_KIT" --wheel "$2" --level static --json - >/dev/null || {
		code=$?
		echo "retread: the wheel failed its static smoke tests" >&2
		exit $code
	}
	;;
esac
