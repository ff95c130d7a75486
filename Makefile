# `make help` lists the targets. Each sets up what it needs, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

HOSTS ?= 3
SEEDS ?= 20
RATE ?= 300
PROFILE ?= full
SCENARIOS := $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml))
BIN := $(CURDIR)/.venv/bin
PLAYBOOK := tools/with-docker $(BIN)/ansible-playbook
TESTBED := $(PLAYBOOK) -i localhost,
export PATH := $(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/.collections
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
# WEEKLY=1 runs what `make test` leaves out for the sake of time.
ALL := $(filter-out 0 no false,$(WEEKLY))
ifneq ($(ALL),)
export PYTEST_ADDOPTS := $(PYTEST_ADDOPTS) -m ""
export KILLS ?= 12
export FAULTS ?= all
endif

.PHONY: help
help: ## Show this list
	@echo "usage: make TARGET [HOSTS=n]"
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: venv
venv:
	@tools/setup python

.PHONY: engine
engine: venv
	@tools/setup packages openssh-client zstd
	@testbed/engine start

.PHONY: demo
demo: engine ## Boot a fleet of bare hosts on this machine (HOSTS=3), run site.yml on it, and roll an update out under load
	@$(TESTBED) testbed/up.yml -e testbed_hosts=$(HOSTS)
	@$(PLAYBOOK) playbooks/site.yml
	@tools/with-docker $(BIN)/python tools/roll_under_load.py
	@$(BIN)/python tools/demo_next_steps.py

.PHONY: demo-ecs
demo-ecs: engine ## Deploy a service on an Amazon ECS of containers on this machine, and move six others, under load (RATE=300)
	@$(TESTBED) testbed/ecs_up.yml
	@RATE=$(RATE) tools/with-docker $(BIN)/python tools/demo_ecs.py
	@RATE=$(RATE) tools/with-docker $(BIN)/python tools/demo_cutover.py

.PHONY: down
down: venv ## Remove the testbeds of this checkout, and stop the docker engine if make started it and nothing else uses it
	@for name in $$(tools/testbeds); do $(TESTBED) testbed/down.yml -e testbed_name=$$name; done
	@testbed/engine stop

.PHONY: test
test: engine ## Run everything that CI runs; with WEEKLY=1 also the cases that it leaves out
	@$(BIN)/python tools/run_suites.py

.PHONY: check
check: venv ## What to run before a commit: lint of what changed, and the unit tests
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target lint-changed unit

.PHONY: lint
lint: venv ## Check style, types, documentation and shell scripts
	@tools/setup packages shellcheck
	@tools/lint

.PHONY: lint-changed
lint-changed: venv
	@tools/setup packages shellcheck
	@tools/lint --changed

.PHONY: unit
unit: venv ## Run the unit tests (no network, no docker)
	@pytest -q -n 2 tests/unit
	@pytest -q -n 2 tests/checkout
	@pytest -q -n 2 testbed/tests

.PHONY: gateway
gateway: venv ## Test the gateway against a real PostgreSQL, Redis and HAProxy
	@tools/setup packages haproxy libfaketime pgbouncer postgresql redis-server varnish
	@pytest -q --durations=10 gateway/tests

.PHONY: gateway-haproxy-3
gateway-haproxy-3: ## Test the gateway with the HAProxy of Debian 13, which is downloaded the first time
	@PATH="$$(tools/haproxy trixie):$$PATH" $(MAKE) --no-print-directory gateway

.PHONY: permissions
permissions: venv ## Test the permissions service against a real PostgreSQL and Redis (AUDIT_EVENTS=100000 AUDIT_KILLS=20)
	@tools/setup packages postgresql redis-server
	@pytest -q --durations=10 permissions/tests

.PHONY: pythons
pythons: venv ## Run the unit tests of what runs on hosts with each Python from 3.9 to 3.13 that is found
	@$(BIN)/python tools/pythons.py

.PHONY: ansibles
ansibles: venv ## Test the collection with each release of ansible-core that it supports (RELEASES="2.17 2.21")
	@tools/setup packages haproxy pgbouncer postgresql
	@$(BIN)/python tools/ansibles.py $(RELEASES)

.PHONY: wheels
wheels: venv ## Check that PyPI has a wheel for arm64, or a pure one, of each Python package in the gateway's image
	@$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
		--platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 -r gateway/constraints.txt -d .cache/wheels

.PHONY: integration
integration: engine ## Test modules against a real HAProxy, PostgreSQL, docker engine and AWS endpoint
	@tools/setup packages chromium conntrack docker-registry haproxy iproute2 nftables python3 shellcheck
	@tools/with-docker $(BIN)/pytest -q --durations=10 tests/integration \
		--ignore=tests/integration/aws --ignore=tests/integration/fleetdb

.PHONY: fleetdb
fleetdb: venv ## Test what reads and writes the fleet's database against a real PostgreSQL
	@tools/setup packages haproxy libfaketime pgbouncer postgresql
	@pytest -q --durations=10 tests/integration/fleetdb

.PHONY: aws
aws: venv ## Test the roles and modules that call AWS against a local AWS endpoint
	@tools/setup packages shellcheck
	@command -v aws >/dev/null || tools/setup tool awscli 'awscli>=1.29,<2'
	@PATH="$$PATH:$(CURDIR)/.cache/awscli/bin" pytest -q -n 2 --dist loadfile --durations=10 tests/integration/aws

.PHONY: cross-check
cross-check: engine ## Run the modules for ECS against another emulator, whose tasks are real containers
	@tools/setup packages busybox-static
	@tools/setup tool ministack ministack==1.5.33 docker
	@tools/with-docker $(BIN)/python -m tests.cross_check.ecs --python .cache/ministack/bin/python

.PHONY: chaos
chaos: venv ## Test elections under random faults: SEEDS=200 runs, or SEED=n to repeat one
	@tools/setup packages haproxy libfaketime pgbouncer postgresql
	@cd gateway/tests && python -m chaos $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(CHAOS)

.PHONY: chaos-figures
chaos-figures: venv ## Measure how long the fleet has no leader, with the production settings (15 minutes)
	@tools/setup packages haproxy pgbouncer postgresql
	@cd gateway/tests && python -m chaos.figures

.PHONY: fuzz
fuzz: venv ## Send the gateway 100,000 malformed requests (FUZZ_SEED=1)
	@tools/setup packages haproxy
	@FUZZ_REQUESTS=100000 pytest -q -s gateway/tests/untrusted/test_fuzz.py

.PHONY: suites
suites: venv ## Run third-party suites: H2SPEC=checkout of h2spec, CACHE_TESTS=checkout of cache-tests
	@tools/setup packages haproxy $(if $(H2SPEC),golang-go golang-github-fatih-color-dev golang-github-spf13-cobra-dev golang-golang-x-net-dev)
	@$(if $(CACHE_TESTS),command -v npm >/dev/null || tools/setup packages nodejs npm)
	@$(if $(CACHE_TESTS),[ -d $(CACHE_TESTS)/node_modules/undici ] || npm --prefix $(CACHE_TESTS) install --no-save --no-audit --no-fund undici)
	@cd gateway/tests && python -m untrusted.suites $(if $(H2SPEC),--h2spec $(abspath $(H2SPEC))) $(if $(CACHE_TESTS),--cache-tests $(abspath $(CACHE_TESTS)))

.PHONY: sanity
sanity: venv ## Run ansible-test sanity, with WEEKLY=1 also its pylint and ansible-test units
	@tools/sanity $(if $(ALL),--all)

.PHONY: images
images: engine ## Build the images of a fleet on this machine; targets with a fleet build what is missing
	@$(TESTBED) testbed/ecs_images.yml -e testbed_name=images -e testbed_surroundings=services \
		-e '{"testbed_chosen_image_groups": "{{ testbed_image_groups }}"}'

.PHONY: molecule
molecule: engine ## Run the molecule scenarios on systemd hosts, with WEEKLY=1 also those of roles that other suites run
	@tools/with-docker tools/molecule $(or $(SCENARIO),$(filter-out $(if $(ALL),,docker gateway),$(SCENARIOS)))

.PHONY: system
system: engine ## Run the system tests of fleets: bare hosts, failures, secrets
	@tools/with-docker $(BIN)/pytest -v --durations=20 tests/system --ignore-glob='*/test_ecs_*'

.PHONY: rollouts
rollouts: engine ## Run the system tests of rollouts: of all kinds, and their failures
	@tools/with-docker $(BIN)/pytest -v --durations=20 tests/rollouts

.PHONY: local-ecs
local-ecs: engine ## Run the system tests of services on Amazon ECS, with containers as tasks (KILLS=20)
	@tools/with-docker $(BIN)/pytest -v --durations=20 tests/system/test_ecs_*.py

.PHONY: kills
kills: engine ## Kill rollouts at SEEDS=20 moments, and check that the next run finishes them
	@KILLS=$(SEEDS) KILLS_FROM=1 tools/with-docker $(BIN)/pytest -v -s tests/rollouts/test_rollout_killed.py

.PHONY: kubernetes
kubernetes: engine ## Roll the gateway out on a real Kubernetes under load (KILLS=1 RATE=300); the first time it is built, 10 minutes
	@tools/with-docker $(BIN)/pytest -v -s --durations=20 tests/kubernetes

.PHONY: rpm-hosts
rpm-hosts: engine ## Bootstrap and update a fleet of Debian 12, Debian 13, and hosts with dnf and RPM packages, named as on Amazon Linux 2023
	@tools/with-docker $(BIN)/pytest -v --durations=20 tests/rpm_hosts

.PHONY: package
package: venv ## Build the collection and check it as Galaxy would
	@tools/package

.PHONY: release-notes
release-notes: venv ## Check that galaxy.yml, the changelog and a tag agree, and write the notes of the release
	@$(BIN)/python tools/release_notes.py

.PHONY: bench-bootstrap
bench-bootstrap: engine ## Compare the time of site.yml with bash over SSH and pyinfra, on six hosts each
	@tools/with-docker $(BIN)/python tests/bench/bootstrap.py

.PHONY: bench-rollout
bench-rollout: engine ## Roll an image out under mixed load, and compare with a plain rolling-update playbook
	@tools/with-docker $(BIN)/python tests/bench/rollout.py --hosts $(if $(filter command line,$(origin HOSTS)),$(HOSTS),6)

.PHONY: bench-gateway
bench-gateway: venv ## Compare the gateway with other gateways (PROFILE=full, quick, basic, spike or stress)
	@tools/setup packages haproxy nginx-light nghttp2-client redis-server
	@tools/setup packages libnginx-mod-http-lua lua-cjson lua-luaossl lua-nginx-redis lua-resty-core lua-resty-lrucache || true
	@command -v npm >/dev/null || tools/setup packages nodejs npm
	@$(BIN)/python tests/bench/gateway/main.py $(PROFILE)

.PHONY: bench-ecs
bench-ecs: venv ## Compare the audit worker of the permissions service with sqs-consumer and celery (BENCH="--rounds 1")
	@tools/setup packages postgresql
	@command -v npm >/dev/null || tools/setup packages nodejs npm
	@$(BIN)/python tests/bench/audit/main.py $(BENCH)

.PHONY: bench-cutover
bench-cutover: venv ## Measure what ecs.yml and ecs_cutover.yml take for six services on a local AWS endpoint (BENCH="--rounds 1")
	@$(BIN)/python tests/bench/cutover.py $(BENCH)

.PHONY: bench
bench: bench-bootstrap bench-rollout bench-gateway bench-ecs bench-cutover ## Run all benchmarks

.PHONY: docs
docs: venv ## Write the tables of the roles' READMEs and of docs/explanation/scale.md, and build the site
	@$(BIN)/python tools/role_docs.py
	@$(BIN)/python tests/simulation/scale.py
	@tools/docs_site

.PHONY: clean
clean: down ## Remove the testbeds, the caches and the virtual environment
	@rm -rf .cache .venv .ansible
