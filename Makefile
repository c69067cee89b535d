# The daily door. `make help` lists what there is; README.md says what a machine needs (scripts/setup installs it).
SHELL := /bin/bash
.DEFAULT_GOAL := help
export RUST_BACKTRACE ?= 0

.PHONY: help demo relay-demo test check bench soak setup fmt

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a name server and three brokers; kills the leader under load and shows that nothing is lost
	@scripts/demo

relay-demo: ## MySQL, the relay, brokers and a mirror; kills all of them and compares the servers
	@scripts/relay-demo

test: ## everything: build, unit and model tests, simulation, Java and Go clients, drills (at most 60 minutes)
	@scripts/test

check: ## before each commit: format, clippy, unit tests, layers, documents (at most 6 minutes)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo test --workspace --lib --bins --quiet
	cargo run --quiet -p xtask -- check
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	@echo "check: all good"

bench: ## the table of figures in docs/performance.md, measured on this machine
	@scripts/bench

soak: ## the long runs: 100 kills, 2,000 simulated clusters, fuzzing (hours)
	@scripts/soak

setup: ## install what this machine lacks (Debian 12)
	@scripts/setup

fmt: ## format the sources
	cargo fmt --all
