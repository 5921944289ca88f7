# Every target works from a fresh clone on a Debian machine with a Rust toolchain; what else is missing is
# installed, and said before. `make` alone shows this list.

WEIR_CONFIG ?= proxy.toml
export WEIR_CONFIG
SOAK_MINUTES ?= 30
# Five clusters at once keep two cores busy, although their tests wait for servers most of the time.
RUST_TEST_THREADS ?= 5
export RUST_TEST_THREADS
ENGINES ?= sid sid+containerd
# What the compiler would keep for the next edit makes these first and whole compiles a quarter longer.
CARGO_INCREMENTAL ?= 0
export CARGO_INCREMENTAL
# Lines in backtraces would cost a fifth of the time that Weir itself takes to compile; a panic names its own anyway.
CARGO_PROFILE_DEV_DEBUG ?= false
export CARGO_PROFILE_DEV_DEBUG

.DEFAULT_GOAL := help
.PHONY: help up down destroy status test engines soak lint bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  WEIR_CONFIG=FILE        another configuration than proxy.toml"
	@echo "  WEIR_MYSQL_IMAGE=IMAGE  another image than the one built here, say mysql:8.4"
	@echo "  ENGINES=SUITES          whose engines \`make engines\` takes: Debian's suites, sid sid+containerd"
	@echo "  SOAK_MINUTES=N          how long \`make soak\` breaks things, 30; SOAK_SEED=N repeats an order,"
	@echo "                          SOAK_FAULT=\"replica: disk\" makes only faults whose names begin so"

up: ## a MySQL cluster in containers with Weir in front of it; run again, it changes nothing
	@scripts/up.sh "$(WEIR_CONFIG)"

down: ## stop Weir and the containers; the data stays
	@scripts/down.sh "$(WEIR_CONFIG)"

destroy: ## remove the cluster with its data, after a question (YES=1: without)
	@scripts/down.sh "$(WEIR_CONFIG)" --destroy $(if $(filter 1,$(YES)),--yes)

status: ## how the servers are
	@target/release/weir cluster status --config "$(WEIR_CONFIG)"

test: ## everything the tests need, then all tests, on real servers
	@scripts/test-setup.sh --compile
	@cargo test --locked

engines: ## the managed cluster's tests on newer Docker Engines than this machine's, set up for that alone; root
	@scripts/test-engines.sh $(ENGINES)

soak: ## all faults in a random order for SOAK_MINUTES, then moves and groups; the tables in docs/cluster.md are made anew
	@scripts/test-setup.sh --compile
	@SOAK_MINUTES=$(SOAK_MINUTES) cargo test --locked --test managed faults_end -- --nocapture
	@[ -n "$(SOAK_FAULT)" ] || SOAK_MINUTES=$(SOAK_MINUTES) RUST_TEST_THREADS=1 cargo test --locked --test managed -- \
		failover:: group:: compose:: --nocapture

lint: ## formatting, clippy and rustdoc, warnings as errors
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

bench: ## the benchmarks
	@scripts/bench.sh
