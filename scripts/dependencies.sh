#!/bin/bash
# Installs the Debian packages that are missing for each purpose named: build, demo, deb, test, judges, lint. For tests also the Python
# tools of Tests/EndToEnd/requirements.txt, into .build-python. Says what it does; does nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the toolchain's linker and C++ importer want, then what Package.swift links.
build=(ca-certificates git make g++ libcurl4 libxml2 libncurses6 libdpdk-dev libnuma-dev libipsec-mb-dev libpcap-dev
    libsqlite3-dev libssl-dev)
demo=(iproute2 iputils-ping ethtool iperf3 procps tcpdump tshark)
# The guest kernel of User-Mode Linux loads its modules with kmod.
test=("${build[@]}" "${demo[@]}" python3-venv user-mode-linux kmod util-linux curl)
deb=(dpkg-dev binutils lintian)
# What tests ask where it is there: Prometheus would be a service on a developer's machine.
judges=(prometheus man-db zsh fish debootstrap systemd tmux chromium fonts-dejavu-core)
lint=(shellcheck)

say() { echo "dependencies: $*" >&2; }

install_missing() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == 'install ok installed' ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        say "packages are missing, and only root can install them:"
        say "    sudo apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # One repository that does not answer is no reason to stop: the packages may all be in another.
    apt-get update -qq || say "apt-get update had errors"
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

need_swift() {
    command -v swift >/dev/null && return
    say "no swift on the PATH: install a Swift 6.3 toolchain for Debian 12 from https://www.swift.org/install/linux"
    exit 1
}

python_tools() {
    local wanted=Tests/EndToEnd/requirements.txt stamp=.build-python/requirements.txt
    cmp -s "$wanted" "$stamp" && return
    say "Python tools into .build-python"
    rm -rf .build-python
    /usr/bin/python3 -m venv .build-python
    .build-python/bin/pip install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$stamp"
}

(($#)) || { echo "usage: $0 build|demo|deb|test|judges|lint ..." >&2; exit 64; }
for purpose in "$@"; do
    case $purpose in
    build)
        need_swift
        install_missing "${build[@]}"
        ;;
    demo) install_missing "${demo[@]}" ;;
    test)
        need_swift
        install_missing "${test[@]}"
        python_tools
        ;;
    judges) install_missing "${judges[@]}" ;;
    deb) install_missing "${deb[@]}" ;;
    lint) install_missing "${lint[@]}" ;;
    *)
        say "no purpose \"$purpose\""
        exit 64
        ;;
    esac
done
