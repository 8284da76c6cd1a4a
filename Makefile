# The index of every chore. CI calls the same targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CLUSTER := deploy/local/cluster
PURE := pointsman-core pointsman-crdt pointsman-replication pointsman-wire

.PHONY: help
help: ## List the chores
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

.PHONY: check
check: format-check clippy unit crds-check ## Fast: format, clippy, unit and scenario tests, drift

.PHONY: format format-check clippy unit
format: ## Format the Rust code
	cargo fmt --all
format-check:
	cargo fmt --all --check
clippy: ## Lint everything, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings
unit: ## Unit, property, scenario and loopback tests
	cargo test --workspace --exclude pointsman-e2e

.PHONY: check-each
check-each: ## Build every crate alone, so that its Cargo.toml is enough
	@for crate in crates/*/; do echo "== $$crate"; cargo check -q --manifest-path $$crate/Cargo.toml || exit 1; done

.PHONY: crds crds-check
crds: ## Write crds/ from crates/api, and the copy in the chart
	POINTSMAN_BLESS=1 cargo test -q -p pointsman-api --test crds
	@if [ -x charts/sync-crds ]; then charts/sync-crds; fi
crds-check:
	cargo test -q -p pointsman-api --test crds
	@if [ -x charts/sync-crds ]; then charts/sync-crds --check; fi

.PHONY: bless
bless: ## Rewrite golden files from what the code does now; read the diff before you commit it
	POINTSMAN_BLESS=1 cargo test --workspace --exclude pointsman-e2e

.PHONY: test charts-test e2e images
test: ## Pass all tests: brings a cluster up (or uses KUBECONFIG), the end-to-end ones included
	tests/all
charts-test: ## Lint the charts and let the API server take what they render (needs a cluster)
	tests/charts
e2e: ## End to end on the cluster that is up; ONLY=part-of-a-name picks some
	cargo test -p pointsman-e2e --test e2e -- --test-threads=1 $(ONLY)
images: ## Build the release binaries and their images, and bring them into the local cluster
	deploy/images/build --import

.PHONY: interop
interop: ## Let real clients of others talk to the real service (needs node and npm)
	tests/interop/run
.PHONY: web web-browser
web: ## Test the TypeScript client, also against the service where it is built (needs node and npm)
	cd web/client && npm ci && npm test && npm run test:service
web-browser: ## Test the client in Chromium
	cd web/client && npm ci && npm run test:browser
.PHONY: bench-sync bench-crdt bench-wire
BENCH := cargo run -q --release --manifest-path benches/sync/Cargo.toml --target-dir target/bench-build
bench-sync: ## The service beside ws, y-websocket and Hocuspocus, then all of bench-crdt and bench-wire, in one table (needs node and npm); ARGS="--rounds 1"
	rm -f target/bench/{crdt,wire,sync}.json
	cargo build -q --release -p pointsman-sync --bin pointsman-sync
	cd benches/sync/peers && npm ci --silent --no-audit --no-fund
	$(MAKE) --no-print-directory bench-crdt bench-wire
	ulimit -n "$$(ulimit -Hn)" && $(BENCH) --bin bench-sync -- $(ARGS)
bench-crdt: ## The replicated types beside crdts, yrs, loro and automerge; TRACE=file plays an editing trace in JSON
	$(BENCH) --bin bench-crdt -- $(if $(TRACE),--trace $(TRACE))
bench-wire: ## Sizes and times of packets in each dialect
	cargo bench -q -p pointsman-wire --bench packets

.PHONY: fuzz
fuzz: ## Feed decoders with bytes that nobody wrote; TARGET=crdt-state picks one, SECONDS=60 is the time for each
	RUSTFLAGS="-C overflow-checks" cargo run -q --release --target-dir target/fuzz -p pointsman-fuzz -- "$(TARGET)" "$(or $(SECONDS),60)" "$(or $(SEED),1)"

.PHONY: demo
demo: cluster-up ## Show it: live clients while versions change under them, on a real cluster
	@cargo run -q -p pointsman-e2e --bin demo

.PHONY: bench-operator
bench-operator: cluster-up ## What the operator costs: requests of a canary, reconcile times, memory and writes at rest
	@cargo run -q -p pointsman-e2e --bin bench-operator

.PHONY: cluster-up cluster-down cluster-status cluster-kubeconfig
cluster-up: ## Bring up a real one-node Kubernetes from package registries (root)
	$(CLUSTER) up
cluster-down: ## Take it down and leave nothing
	$(CLUSTER) down
cluster-status: ## Say which component is well, and where its log is
	@$(CLUSTER) status
cluster-kubeconfig: ## Print the path of its kubeconfig
	@$(CLUSTER) kubeconfig
