#!/bin/sh
# Installs the unpacked release: the program, its unit, user, man pages and completions below PREFIX,
# and /etc/risksignal. An existing configuration stays as it is. With DESTDIR it creates no user.
#
#   sudo ./install.sh             install, or upgrade
#   sudo ./install.sh --remove    remove; /etc/risksignal stays
#
# Variables: PREFIX=/usr/local, DESTDIR=
set -eu

cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
config=$root/etc/risksignal
unit=lib/systemd/system/risksignal-ingest.service
files=$(find bin lib share -type f | sort)

has_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

case ${1:-} in
--remove)
    if has_systemd; then systemctl disable --now risksignal-ingest; fi
    for file in $files; do rm -f "$root$prefix/$file"; done
    rmdir "$root$prefix/share/doc/risksignal-ingest" "$root$prefix/share/risksignal-ingest"
    if has_systemd; then systemctl daemon-reload; fi
    echo "Removed. $config and the user risksignal stay."
    exit
    ;;
"") ;;
*)
    echo "usage: [PREFIX=/usr/local] [DESTDIR=] $0 [--remove]" >&2
    exit 2
    ;;
esac

for file in $files; do
    case $file in bin/*) mode=755 ;; *) mode=644 ;; esac
    install -D -m $mode "$file" "$root$prefix/$file"
done
sed "s#^ExecStart=/usr/bin/#ExecStart=$prefix/bin/#" "$unit" > "$root$prefix/$unit"

install -d -m 755 "$config"
# Each secret is a file there, readable by root alone; systemd passes them to the daemon.
install -d -m 700 "$config/credentials"
for section in clickhouse nats ops otel cache; do
    install -d -m 700 "$config/credentials/$section"
done
test -e "$config/risksignal.toml" ||
    install -m 640 etc/risksignal.example.toml "$config/risksignal.toml"
if [ -z "$root" ]; then
    systemd-sysusers "$prefix/lib/sysusers.d/risksignal.conf"
    chgrp risksignal "$config/risksignal.toml"
fi
if has_systemd; then
    systemctl daemon-reload
    systemctl try-restart risksignal-ingest
fi
