# Weir's work bench. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# The steps share one target directory, and a log in order is worth more than the overlap.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# What `make demo` runs through the recorded session; empty: a session for you to type into.
RUN ?=
export RUN
# How long `make test` runs each fuzz target, in seconds.
FUZZ_SECONDS ?= 10

CARGO ?= cargo
BUILD_NEEDS := cc:gcc,libc6-dev
DEMO_NEEDS := $(BUILD_NEEDS) sshd:openssh-server ssh:openssh-client
TEST_NEEDS := $(DEMO_NEEDS) c++:g++ setpriv:util-linux chrt:util-linux unshare:util-linux mount:mount sftp:openssh-client rsync:rsync git:git tmux:tmux python3:python3 g++:g++ node:nodejs npm:npm rsyslogd:rsyslog,rsyslog-gnutls openssl:openssl

# $(call step,NAME,COMMAND): one step of `make test`, with the time it took. The first that fails ends the run.
define step
@printf '\n== %s\n' '$(1)'; begin=$$SECONDS; \
{ $(2); } || { status=$$?; printf '== %s: FAILED after %d s\n' '$(1)' $$((SECONDS - begin)) >&2; exit $$status; }; \
printf '== %s: ok, %d s\n' '$(1)' $$((SECONDS - begin))
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## a throwaway world to log in to; RUN='uname -a' does one recorded session and exits
	@.ci/need $(DEMO_NEEDS)
	@$(CARGO) build -p weir-cli
	@exec "$(TARGET_DIR)/debug/weir" \
		demo $${RUN:+--run "$$RUN"}

.PHONY: test
test: ## everything: install what the tests need, then format, lint, deny, test, fuzz
	$(call step,programs,.ci/need $(TEST_NEEDS))
	$(call step,a newer sshd,$(SSHD_10))
	$(call step,a player of asciicasts,$(ASCIINEMA_PLAYER))
	$(call step,cargo-nextest,$(call cargo-tool,nextest))
	$(call step,cargo-deny,$(call cargo-tool,deny))
	$(call step,format,$(CARGO) fmt --all --check)
	$(call step,lint,$(LINT))
	$(call step,dependencies,$(DENY) bans licenses sources)
	$(call step,build,$(CARGO) build --workspace --bins)
	$(call step,tests,$(CARGO) nextest run --workspace --no-fail-fast)
	$(call step,tests on epoll,$(EPOLL))
	$(call step,tests with ring,$(CARGO) nextest run $(RING))
	$(call step,documentation tests,$(CARGO) test --quiet --workspace --doc)
	$(call step,fuzz $(FUZZ_SECONDS) s each,$(FUZZ))
	@printf '\n== all of it: ok, %d s\n' $$(( $$(date +%s) - $(BEGAN) ))

.PHONY: fmt
fmt: ## format the sources
	@$(CARGO) fmt --all

.PHONY: lint
lint: ## clippy on all targets, warnings refused; dependencies against .deny.toml
	@$(LINT)
	@$(call cargo-tool,deny)
	@$(DENY) bans licenses sources

.PHONY: audit
audit: ## known vulnerabilities in the dependencies (fetches the advisory database)
	@$(call cargo-tool,deny)
	@$(DENY) advisories

.PHONY: bench
bench: ## Criterion benches
	@$(CARGO) bench -p weir-bench

.PHONY: compare
compare: ## one table, measured now: Weir beside a direct connection and other relays (ARGS=--help)
	@.ci/need $(TEST_NEEDS)
	@bench/compare $(ARGS)

.PHONY: transfers
transfers: ## what reading file transfers in passing costs: sftp with it off, on, and with hashes (ARGS=--help)
	@.ci/need $(TEST_NEEDS)
	@bench/compare transfers $(ARGS)

.PHONY: pacing
pacing: ## the long tests against real sshd: a thousand clients at once, fifty Ansible forks for each of twenty users
	@.ci/need $(TEST_NEEDS)
	@$(SSHD_10)
	@$(call cargo-tool,nextest)
	@$(CARGO) build --workspace --bins
	@$(PACING)

.PHONY: killed
killed: ## the long tests of crashes and bad disks: a hundred kills under load, thousands of power failures, a gibibyte of spool
	@.ci/need $(TEST_NEEDS) mkfs.ext4:e2fsprogs
	@$(call cargo-tool,nextest)
	@$(CARGO) build --workspace --bins
	@$(KILLED)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZ_SECONDS=10
	@$(FUZZ)

# Asked when it is needed: cargo is not there for every target.
TARGET_DIR = $$($(CARGO) metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# OpenSSH 10's server beside the installed one; tests look for it there.
SSHD_10 = .ci/sshd-10 "$(TARGET_DIR)/openssh-10"
# Asciinema's player, in which a test plays what is exported.
ASCIINEMA_PLAYER = .ci/asciinema-player "$(TARGET_DIR)/asciinema-player"
LINT := $(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
# The advisory database lives on the network and changes without a commit here: `make test` has one outcome
# for one commit, so advisories are `make audit`, for wherever the network allows.
DENY := $(CARGO) deny --all-features --log-level error check
# The first run is on what `weir up` chooses, which is io_uring wherever the kernel allows it.
# The workspace again, of which the profile takes the end-to-end tests: for a single package all would be built anew.
EPOLL := WEIR_TESTS_IO=epoll $(CARGO) nextest run --workspace --profile epoll --no-fail-fast
# What takes minutes, and is in no other run; each prints its figures. The workspace again, of which the profiles take their tests.
PACING := $(CARGO) nextest run --workspace --profile pacing --run-ignored only --no-fail-fast
KILLED := $(CARGO) nextest run --workspace --profile killed --run-ignored only --no-fail-fast
# Everything that computes through `weir-crypto` and nothing else once more with the other library.
RING := -p weir-crypto -p weir-ssh -p weir-record --no-default-features --features ring
FUZZ := tests/fuzz/run $(FUZZ_SECONDS)
BEGAN := $(shell date +%s)

# Tools from crates.io, if missing. Unoptimised: they run for seconds, and build in half the time.
cargo-tool = $(CARGO) $(1) --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked --debug cargo-$(1)
