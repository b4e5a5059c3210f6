#!/bin/sh
# Start the compile cache, run a build, end the cache, each behind walls of its own where there are any.
#   enter.sh <folder or -> <bytes> <sccache or -> <words before it> -- <command>...
# With a folder, this runs in a mount namespace of its own: the folder is made the /tmp that both sides of the walls
# know, of so many bytes. The cache's server has walls other than the build's, for its keys and what it keeps.
set -eu
[ "$1" = - ] || mount -t tmpfs -o "mode=1777,size=$2" tmpfs "$1"
cache=$3 walls=$4
shift 5
server=
start() {
	eval "SCCACHE_START_SERVER=1 SCCACHE_NO_DAEMON=1 $walls \"\$cache\"" >/dev/null 2>>"$RETREAD_CACHE_LOG" &
	server=$!
	tries=0
	while ! [ -S "$SCCACHE_SERVER_UDS" ]; do
		kill -0 $server 2>/dev/null && [ $tries -lt 100 ] || {
			kill $server 2>/dev/null || :
			return 1
		}
		tries=$((tries + 1))
		sleep 0.1
	done
}
if [ "$cache" != - ]; then
	start || { # a cache on another machine may be gone: its own folder is left
		for name in $(env | sed -n 's/^\(SCCACHE_[A-Z0-9_]*\)=.*/\1/p'); do
			case $name in
			SCCACHE_DIR | SCCACHE_CACHE_SIZE | SCCACHE_DIRECT | SCCACHE_IDLE_TIMEOUT | SCCACHE_SERVER_UDS) ;;
			*) unset "$name" ;;
			esac
		done
		start || {
			echo "retread: the compile cache did not start:" >&2
			cat "$RETREAD_CACHE_LOG" >&2
			exit 97
		}
	}
fi
code=0
"$@" || code=$?
if [ "$server" ]; then
	"$cache" --show-stats --stats-format json >"$RETREAD_CACHE_STATS" 2>/dev/null || :
	"$cache" --stop-server >/dev/null 2>&1 || kill "$server" 2>/dev/null || :
fi
exit $code
