#!/bin/bash
# Every test of both runners, then their summaries, then the sum: "N passed, M failed". With --long also the slow ones; with
# --package the Debian package is made, and what is in it is what is tested: one release build instead of another.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

markers=(-m 'not long')
package=
for option in "$@"; do
    case $option in
    --long) markers=() ;;
    --package) package=1 ;;
    *)
        echo "usage: $0 [--long] [--package]" >&2
        exit 64
        ;;
    esac
done

scripts/dependencies.sh test || exit
swift build --build-tests || exit
if [[ $package ]]; then
    scripts/deb.sh || exit
    export VPN_GW=$PWD/.build/static/release/vpn-gw
else
    swift build -c release --product vpn-gw || exit
fi

# Both run whatever the other says; the sum at the end knows.
swift test --skip-build --disable-xctest 2>&1 | tee .build/swift-test.log
swift_code=${PIPESTATUS[0]}
.build-python/bin/python -m pytest Tests/EndToEnd -rs -p no:cacheprovider "${markers[@]}" 2>&1 | tee .build/pytest.log
pytest_code=${PIPESTATUS[0]}
exec .build-python/bin/python scripts/sum.py .build/swift-test.log "$swift_code" .build/pytest.log "$pytest_code"
