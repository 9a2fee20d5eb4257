#!/bin/bash
# Makes .build/docc: what the modules offer each other, from their documentation comments. A warning (a link that leads nowhere,
# a parameter that is not there) is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/dependencies.sh build
tools=$(dirname "$(readlink -f "$(command -v swift)")")
for tool in docc swift-symbolgraph-extract; do
    [[ -x $tools/$tool ]] || { echo "docc: this Swift toolchain has no $tool" >&2; exit 69; }
done
swift build --product vpn-gw

graphs=.build/symbol-graphs
rm -rf "$graphs" .build/docc
mkdir -p "$graphs"
# C modules, as SwiftPM passes them to the compiler.
maps=()
for map in Sources/*/include/module.modulemap .build/checkouts/*/Sources/*/module.modulemap \
    .build/checkouts/*/Sources/*/include/module.modulemap .build/debug/*.build/module.modulemap; do
    [[ -e $map ]] && maps+=(-Xcc "-fmodule-map-file=$PWD/$map")
done
for module in Wire IPsec ESP DataPlane SAStore Capture Gateway; do
    "$tools/swift-symbolgraph-extract" -module-name "$module" -target x86_64-unknown-linux-gnu -I .build/debug/Modules "${maps[@]}" \
        -Xcc -I/usr/include/dpdk -Xcc -I/usr/include/x86_64-linux-gnu/dpdk -Xcc -march=x86-64-v3 -minimum-access-level public \
        -skip-synthesized-members -output-dir "$graphs"
done
# What extends other packages' modules is documented there.
rm -f "$graphs"/*@*
"$tools/docc" convert --additional-symbol-graph-dir "$graphs" --output-path .build/docc --warnings-as-errors \
    --fallback-display-name vpn-gw --fallback-bundle-identifier vpn-gw
echo "$PWD/.build/docc"
