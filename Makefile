# Keyway. `make help` lists what there is.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
FUZZTIME ?= 20s

.PHONY: help test parts lint page unit check-threats threats check-conformance conformance storm bench fuzz build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

test: ## everything, on a fresh Debian machine with Go and Node: installs what is missing, checks, tests
	@$(MAKE) --no-print-directory parts
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory page
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory check-threats
	@$(MAKE) --no-print-directory check-conformance

parts: ## install what the tests need: redis-server, chromium, nginx, caddy, haproxy, promtool, npm packages, the Open Policy Agent
	@scripts/install-test-parts.sh

lint: ## gofmt, go vet, staticcheck
	@scripts/check-format.sh
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...

page: ## the embedded demo page is what its sources give
	@scripts/check-page.sh

unit: ## all Go tests with the race detector; none may be left out; then the hunt for their secrets in all that was said
	rm -rf out/leakhunt && mkdir -p out && mkdir -m 700 out/leakhunt
	KEYWAY_LEAKHUNT=$(CURDIR)/out/leakhunt KEYWAY_REQUIRE_PARTS=1 go run ./test/summary -json out/test.json -- go test -race -count=1 -json ./...
	go run ./test/leakhunt -dir out/leakhunt -json out/test.json
	go test -count=1 -run Allocates ./test/bench

check-threats: ## docs/reference/threats.md says what the last test run showed
	@go run ./test/threats -check

threats: ## write docs/reference/threats.md from the last test run
	@go run ./test/threats

check-conformance: ## docs/reference/conformance.md says what the last test run showed
	@go run ./test/conformance/table -check

conformance: ## write docs/reference/conformance.md from the last test run
	@go run ./test/conformance/table

storm: ## every secret turns under load while replicas and Redis come and go: STORM_TIME (5m), STORM_SEED
	STORM_TIME=$${STORM_TIME:-5m} KEYWAY_REQUIRE_PARTS=1 go test -count=1 -v -timeout 0 -run '^TestStorm$$' ./test/storm

bench: ## speed and memory, as ratios in one run
	go run ./test/bench

fuzz: ## every fuzz target, or those named in FUZZ, for FUZZTIME (20s); what they find new is kept in testdata/fuzz
	@FUZZTIME=$(FUZZTIME) scripts/fuzz.sh $(FUZZ)

build: ## the stripped, static binary, as out/keyway
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o out/keyway ./cmd/keyway
