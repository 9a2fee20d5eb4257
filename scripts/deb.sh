#!/bin/bash
# Makes .build/deb/vpn-gw_VERSION_amd64.deb: the binary with its Swift runtime inside, the unit, manual pages, completions,
# examples and guides. The same sources give the same package.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/dependencies.sh build deb
swift build -c release --static-swift-stdlib --scratch-path .build/static --product vpn-gw
binary=.build/static/release/vpn-gw

# "-dev" comes before the release of its number.
version=$("$binary" --version)
version=${version/-/\~}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
maintainer="${DEBFULLNAME:-The vpn-gw authors} <${DEBEMAIL:-vpn-gw@localhost}>"
umask 022
output=$PWD/.build/deb
root=$output/root
rm -rf "$output"
mkdir -p "$root/DEBIAN"

# put MODE SOURCE TARGET: one file.
put() { install -D -m "$1" "$2" "$root/$3"; }

# made TARGET: what comes in, compressed where the policy wants it.
made() {
    mkdir -p "$root/$(dirname "$1")"
    case $1 in
    *.gz) gzip -9n >"$root/$1" ;;
    *) cat >"$root/$1" ;;
    esac
}

put 755 "$binary" usr/bin/vpn-gw
strip --strip-unneeded --remove-section=.comment "$root/usr/bin/vpn-gw"
put 644 configs/systemd/vpn-gw.service lib/systemd/system/vpn-gw.service
put 644 configs/systemd/vpn-gw.sysusers usr/lib/sysusers.d/vpn-gw.conf
put 644 configs/systemd/vpn-gw.tmpfiles usr/lib/tmpfiles.d/vpn-gw.conf
put 644 configs/systemd/vpn-gw.udev lib/udev/rules.d/60-vpn-gw.rules

"$binary" manual vpn-gw.1 | made usr/share/man/man1/vpn-gw.1.gz
"$binary" manual vpn-gw-site.5 | made usr/share/man/man5/vpn-gw-site.5.gz
"$binary" --generate-completion-script bash | sed "1{/^#!/d}" | made usr/share/bash-completion/completions/vpn-gw
"$binary" --generate-completion-script zsh | made usr/share/zsh/vendor-completions/_vpn-gw
"$binary" --generate-completion-script fish | made usr/share/fish/vendor_completions.d/vpn-gw.fish

doc=usr/share/doc/vpn-gw
put 644 README.md $doc/README.md
for page in docs/*.md docs/guides/*.md; do put 644 "$page" "$doc/$page"; done
for site in configs/*.toml; do put 644 "$site" "$doc/examples/$(basename "$site")"; done
put 644 configs/grafana/vpn-gw.json $doc/examples/grafana/vpn-gw.json
put 644 configs/prometheus/vpn-gw.rules.yml $doc/examples/prometheus/vpn-gw.rules.yml
made $doc/copyright <packaging/copyright
made $doc/changelog.gz <<END
vpn-gw ($version) unstable; urgency=medium

  * See CHANGELOG.md of the sources.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
made usr/share/lintian/overrides/vpn-gw <packaging/lintian-overrides

for script in postinst prerm postrm; do put 755 "packaging/$script" "DEBIAN/$script"; done

# The libraries by their symbols; dpkg-shlibdeps wants to stand in a source package.
mkdir -p "$output/shlibs/debian"
printf 'Source: vpn-gw\n\nPackage: vpn-gw\nArchitecture: amd64\n' >"$output/shlibs/debian/control"
libraries=$(cd "$output/shlibs" && dpkg-shlibdeps -O --warnings=0 "$root/usr/bin/vpn-gw" | sed -n 's/^shlibs:Depends=//p')
[[ -n $libraries ]] || { echo "deb: no libraries found" >&2; exit 1; }
size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@DEPENDS@/$libraries/" -e "s/@SIZE@/$size/" -e "s/@MAINTAINER@/$maintainer/" packaging/control >"$root/DEBIAN/control"
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

package=$output/vpn-gw_${version}_amd64.deb
find "$root" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
if command -v lintian >/dev/null; then lintian --fail-on error "$package"; fi
echo "$package"
