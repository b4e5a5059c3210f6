#!/bin/sh
# Make a machine fit for tests and compiles, as root: install the Debian packages of programs that are not there.
# With --open-namespaces, also let everybody make the namespaces in which builds run, where the kernel keeps them to root.
set -eu

packages=
want() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null || packages="$packages $2"
}
want strip binutils
want unzip unzip
want g++ g++
if [ "$(uname -m)" != aarch64 ]; then # wheels for another machine, and what runs them
	want aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
	want qemu-aarch64-static qemu-user-static
fi
want unshare util-linux
want bwrap bubblewrap
want nginx nginx-light
want sshd openssh-server
want ssh openssh-client
want chromium chromium
want redis-server redis-server # a compile cache that machines share
want slurmctld slurm-wlm # jobs through a real Slurm
want munged munge
want zsh zsh
want fish fish
if [ "$(id -u)" = 0 ]; then # the tests of containers are root's
	want podman podman
	want runc runc
	want debootstrap debootstrap
fi
"${PYTHON:-python3}" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' ||
	packages="$packages python3-dev"

if [ "$packages" ] && { [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; }; then
	echo "machine: missing:$packages; install them, or run 'make machine' as root on Debian" >&2; exit 1
fi
if [ "$packages" ]; then
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	RUNLEVEL=1 apt-get install -qq -y --no-install-recommends $packages
	command -v caddy >/dev/null || apt-get install -qq -y --no-install-recommends caddy || echo "machine: no caddy here; its tests are skipped"
fi

guard=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
if [ "${1:-}" = --open-namespaces ] && [ -e $guard ]; then echo 0 > $guard; fi
