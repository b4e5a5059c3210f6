#!/bin/sh
# Make an image for the container lane out of Debian's packages, for machines that reach no image registry.
#   scripts/manylinux-image.sh [NAME] [SUITE]     default: localhost/retread-manylinux, this machine's own release
# It has what cibuildwheel and retread look for: /opt/python/cpXY-cpXY with pip, g++, tar. Its glibc is Debian's, so
# wheels get Debian's tag (bookworm: at most manylinux_2_36). Needs root, debootstrap, and podman or docker.
set -eu
name=${1:-localhost/retread-manylinux}
suite=${2:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
engine=$(command -v podman || command -v docker) || { echo "image: there is neither podman nor docker" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "image: there is no debootstrap; on Debian: apt-get install debootstrap" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "image: debootstrap needs root" >&2; exit 1; }
if "$engine" image inspect "$name" >/dev/null 2>&1; then
	echo "image: $name is here already"
	exit
fi
# The mirror that this machine's own apt uses.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
debootstrap --variant=minbase --include=python3,python3-dev,python3-venv,g++ "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
	tail -n 5 "$root.log" >&2
	exit 1
}
rm -rf "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/locale
tag=$(chroot "$root" python3 -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
chroot "$root" python3 -m venv "/opt/python/$tag-$tag"
# cibuildwheel runs its own small programs with this one.
[ "$tag" = cp39 ] || ln -s "$tag-$tag" "$root/opt/python/cp39-cp39"
tar -C "$root" -c . | "$engine" import - "$name" >/dev/null
echo "image: $name has Python $tag of Debian $suite"
