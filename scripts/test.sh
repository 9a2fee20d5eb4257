#!/bin/bash
# Every test of both runners, then their summaries, then the sum: "N passed, M failed". With --long also the slow ones.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

markers=(-m 'not long')
[[ ${1-} == --long ]] && markers=()

scripts/dependencies.sh test || exit
swift build --build-tests || exit
swift build -c release --product vpn-gw || exit

# Both run whatever the other says; the sum at the end knows.
swift test --skip-build --disable-xctest 2>&1 | tee .build/swift-test.log
swift_code=${PIPESTATUS[0]}
.build-python/bin/python -m pytest Tests/EndToEnd -rs -p no:cacheprovider "${markers[@]}" 2>&1 | tee .build/pytest.log
pytest_code=${PIPESTATUS[0]}
exec .build-python/bin/python scripts/sum.py .build/swift-test.log "$swift_code" .build/pytest.log "$pytest_code"
