#!/bin/sh
# The steps of a build in a container that cibuildwheel leaves to its user.
#   container.sh cache                  start the compile cache
#   container.sh repair <wheel> <into>  tag the wheel as what it needs of a machine says
#   container.sh try <wheel>            the static smoke tests
set -euf
case $1 in
cache)
	[ "${RETREAD_CACHE:-}" ] || exit 0
	relay=${RETREAD_RELAY:+python -I $RETREAD_RELAY $RETREAD_DEPOT}
	# shellcheck disable=SC2086 # words are meant
	SCCACHE_START_SERVER=1 SCCACHE_NO_DAEMON=1 setsid $relay "$RETREAD_CACHE" >/dev/null 2>"$RETREAD_CACHE_LOG" </dev/null &
	server=$! tries=0
	while ! [ -S "$SCCACHE_SERVER_UDS" ]; do
		kill -0 $server 2>/dev/null && [ $tries -lt 100 ] || {
			echo "retread: the compile cache did not start:" >&2
			cat "$RETREAD_CACHE_LOG" >&2
			exit 97
		}
		tries=$((tries + 1))
		sleep 0.1
	done
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
