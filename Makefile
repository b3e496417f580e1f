# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test chaos upgrade lint fmt install deb deny advisories sbom fuzz memory model bench bench-micro bench-serve bench-wallets up down status

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## see it work: servers, daemon, 10,000 signals, counts; EXIT=1 ends after the check
	@infra/local/demo $(if $(EXIT),--exit)

# Most tests wait for servers, so that four at once fit on two cores.
THREADS ?= 4
test: ## every test, against real servers that the tests start themselves: THREADS=4
	infra/local/stack fetch
	RUST_TEST_THREADS=$(THREADS) cargo test --locked
	python3 -m unittest discover --start-directory infra/local
	python3 -m unittest discover --start-directory infra/systemd
	python3 -m unittest discover --start-directory infra/debian
	python3 -m unittest discover --start-directory infra/helm
	python3 -m unittest discover --start-directory infra/sbom
	python3 -m unittest discover --start-directory infra/examples

chaos: ## the proof under faults, seeded: SEED=7 MINUTES=10 (each case) RATE=2000 CASE=cluster PUT_BACK=1
	infra/local/stack fetch
	cargo test --locked --test chaos -- --all $(CASE) \
		$(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) \
		$(if $(PUT_BACK),--put-back)

# The release before the claims log is built in a worktree of its own, once.
OLD_RELEASE = e1f4de3
OLD = target/$(OLD_RELEASE)
upgrade: ## from the release before the claims log to this one and back, under load
	infra/local/stack fetch
	test -d $(OLD) || git worktree add --detach $(OLD) $(OLD_RELEASE)
	cargo build --locked --manifest-path $(OLD)/Cargo.toml --target-dir $(OLD)/target
	RISKSIGNAL_OLD_BINARY=$(CURDIR)/$(OLD)/target/debug/risksignal \
		cargo test --locked --test it -- upgrade:: --nocapture

lint: ## format and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings

fmt: ## format the code
	cargo fmt

PREFIX ?= /usr/local
SYSUSERS = $(DESTDIR)$(PREFIX)/lib/sysusers.d/risksignal.conf
CONFIG = $(DESTDIR)/etc/risksignal
# Leaves a configuration that is there as it is. With DESTDIR no user is made.
install: ## the release build, the unit, the user and /etc/risksignal: PREFIX=/usr/local DESTDIR=
	cargo build --release --locked
	install -D -m 755 target/release/risksignal $(DESTDIR)$(PREFIX)/bin/risksignal
	install -D -m 644 infra/systemd/risksignal.sysusers $(SYSUSERS)
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's#^ExecStart=/usr/bin/#ExecStart=$(PREFIX)/bin/#' infra/systemd/risksignal-ingest.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/risksignal-ingest.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/risksignal-ingest.service
	install -d -m 755 $(CONFIG)
	install -d -m 700 $(CONFIG)/credentials $(CONFIG)/credentials/clickhouse $(CONFIG)/credentials/nats $(CONFIG)/credentials/ops $(CONFIG)/credentials/otel $(CONFIG)/credentials/cache
	test -e $(CONFIG)/risksignal.toml || install -m 640 risksignal.example.toml $(CONFIG)/risksignal.toml
ifndef DESTDIR
	systemd-sysusers $(SYSUSERS)
	chgrp risksignal $(CONFIG)/risksignal.toml
	systemctl daemon-reload
endif

# Needs `cargo install cargo-deb --locked`, and Debian's dpkg-dev. The package is for this machine's
# Debian release and later ones.
deb: ## the Debian package, in target/debian
	cargo deb --locked

# Needs `cargo install cargo-deny --locked`, as `make advisories` does.
deny: ## licences, duplicates and sources of what is depended on (deny.toml)
	cargo deny --locked check licenses bans sources

# The database is a repository on GitHub. Where it cannot be reached nothing is known, which is said.
ADVISORIES = https://github.com/RustSec/advisory-db
advisories: ## RustSec's advisories on what is depended on, where their database can be reached
	@if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --exit-code $(ADVISORIES) HEAD >/dev/null 2>&1; then \
		cargo deny --locked check advisories; \
	else \
		echo "SKIPPED: advisories are NOT checked, since $(ADVISORIES) cannot be reached" >&2; \
	fi

SBOM = target/risksignal-ingest.cdx.json
sbom: ## what is compiled into the program, with licenses and checksums: CycloneDX, SBOM=target/risksignal-ingest.cdx.json
	infra/sbom/sbom.py $(SBOM)

# Needs `cargo install cargo-fuzz --locked`, and a C++ compiler for libFuzzer. RUSTC_BOOTSTRAP has
# the stable compiler take cargo-fuzz's options; the code has no `unsafe`, so no sanitizer is
# needed. What the fuzzer finds on its way goes to fuzz/target, not into the corpus.
SECONDS ?= 60
fuzz: ## fuzz the decoder and the row encoder, SECONDS=60 for each
	for target in decode row; do \
		mkdir -p fuzz/target/corpus/$$target && \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -max_len=65536 -timeout=10 -print_final_stats=1 || exit 1; \
	done

# A test of every day explores 60,000 states of each world (35 s of CPU in all); this one as many as fit into a night.
STATES ?= 10000000
model: ## explore the rules of the claims log: STATES=10000000 of each world, ONLY="two processes"
	cargo test --release --locked --package risksignal-claims --test model -- --states $(STATES) \
		$(if $(ONLY),--only "$(ONLY)")

memory: ## 5 GiB through a daemon that may have 256 MiB resident, ClickHouse slow and away
	infra/local/stack fetch
	cargo test --release --locked --test it -- --ignored --nocapture memory::five_gib

# The daemon is built by itself: what cargo builds along with a benchmark has the fault points.
BENCH_DAEMON = target/bench/risksignal
bench: ## measure throughput, cost and latency: QUICK=1 (a minute), OLD=path/of/a/release, ARGS="--only latency --help"
	infra/local/stack fetch
	cargo build --release --locked
	install -D target/release/risksignal $(BENCH_DAEMON)
	cargo bench --locked --bench end_to_end -- --daemon $(BENCH_DAEMON) $(if $(OLD),--daemon old=$(OLD)) \
		$(if $(QUICK),--quick) $(ARGS)

bench-micro: ## measure decoding and encoding by themselves
	cargo bench --locked --bench micro

bench-serve: ## measure the way in over HTTP: ARGS="--seconds 10 --clients 1,16 --batches 1,100"
	infra/local/stack fetch
	cargo bench --locked --bench serve -- $(ARGS)

bench-wallets: ## measure what is read of wallets, with Redis and without: ARGS="--millions 10 --clients 1,8"
	infra/local/stack fetch
	cargo bench --locked --bench wallets -- $(ARGS)

up: ## start NATS and ClickHouse on this machine, without Docker
	infra/local/stack up

down: ## stop them
	infra/local/stack down

status: ## are they up?
	infra/local/stack status
