# Debian 12 with a Swift 6.3 toolchain on the PATH is all these need: each installs what it misses, which takes root once.

.DELETE_ON_ERROR:
.PHONY: help build model demo demo-offload bench-peers performance hw-test deb docc test test-long test-package format lint clean

SOURCES := Package.swift Sources Tests
SCRIPTS := .ci/run $(wildcard scripts/*.sh) packaging/postinst packaging/prerm packaging/postrm

help:
	@echo 'make build        .build/release/vpn-gw'
	@echo 'make model        .build/release/ixgbe-model, an 82599 in software to run the gateway on'
	@echo 'make demo         two gateways, two hosts, traffic through a tunnel, and what crossed the wire'
	@echo 'make demo-offload the same on NICs in software that encrypt; WIRE=FILE.pcap keeps the wire'
	@echo 'make bench-peers  ESP here beside libipsec-mb alone and librte_ipsec, in turn on the same core; 1 and 10 000 SAs'
	@echo 'make performance  measures three times and writes docs/PERFORMANCE.md; RUNS=N. On a machine that does nothing else'
	@echo 'make hw-test      on real NICs: PORTS="0000:03:00.0 0000:03:00.1", docs/HARDWARE.md'
	@echo 'make deb          .build/deb/vpn-gw_VERSION_amd64.deb, checked by lintian'
	@echo 'make test         every test that needs no special machine'
	@echo 'make test-long    the slow ones as well'
	@echo 'make test-package the same as test, of the package and what is in it'
	@echo 'make docc         .build/docc, what the modules offer each other; a warning is an error'
	@echo 'make format       put the Swift sources into the house format'
	@echo 'make lint         say what is not in it, and what shell scripts do wrong'
	@echo 'make clean        remove what these made'

build:
	@scripts/dependencies.sh build
	swift build -c release --product vpn-gw

model:
	@scripts/dependencies.sh build
	swift build -c release --product IxgbeTrap
	swift build -c release --product ixgbe-model

demo: build
	@scripts/dependencies.sh demo
	@scripts/demo.sh

demo-offload: build model
	@scripts/dependencies.sh demo
	@scripts/demo.sh --offload

bench-peers: build
	@scripts/dependencies.sh build
	@scripts/bench-peers.py

performance: build
	@scripts/dependencies.sh build
	@scripts/performance.py --measure $(or $(RUNS),3)

hw-test: build
	@scripts/hw-test.sh $(PORTS)

deb:
	@scripts/deb.sh

test:
	@scripts/test.sh

test-long:
	@scripts/test.sh --long

test-package:
	@scripts/test.sh --package

docc:
	@scripts/docc.sh

format:
	@scripts/dependencies.sh build
	swift format --in-place --parallel --recursive $(SOURCES)

lint:
	@scripts/dependencies.sh build lint
	swift format lint --strict --parallel --recursive $(SOURCES)
	shellcheck $(SCRIPTS)

clean:
	rm -rf .build .build-python hw-test-out
