# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test chaos lint fmt up down status

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## see it work: servers, daemon, 10,000 signals, counts; EXIT=1 ends after the check
	@infra/local/demo $(if $(EXIT),--exit)

test: ## every test, against real servers that the tests start themselves
	infra/local/stack fetch
	cargo test --locked
	python3 -m unittest discover --start-directory infra/local

chaos: ## the proof under faults, seeded: SEED=7 MINUTES=10 (each case) RATE=4000 CASE=cluster
	infra/local/stack fetch
	cargo test --locked --test chaos -- --all $(CASE) \
		$(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE))

lint: ## format and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings

fmt: ## format the code
	cargo fmt

up: ## start NATS and ClickHouse on this machine, without Docker
	infra/local/stack up

down: ## stop them
	infra/local/stack down

status: ## are they up?
	infra/local/stack status
