# Two commands matter: `make demo` and `make test`. Everything else is called by them or by hand.
CARGO ?= cargo
PROFILE ?= demo

# The dashboard needs Node.js of this version or newer; without it everything else is built all the same.
NODE ?= 20

.PHONY: demo test lint build release dashboard dashboard-lint bench bench-quick clean

demo: dashboard ## Build, and run the bookstore with its mesh
	$(CARGO) build --profile $(PROFILE) -p taut
	./target/$(PROFILE)/taut demo --fresh

test: lint dashboard dashboard-lint ## Everything: house rules, unit, simulation, end-to-end
	$(CARGO) build -p taut -p taut-proxy
	$(CARGO) test --workspace --no-fail-fast

lint:
	$(CARGO) fmt --all --check
	$(CARGO) run -q -p xtask -- tidy
	$(CARGO) clippy --workspace --all-targets -q -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo-deny --log-level error check bans licenses sources; else echo "cargo-deny is not installed: licences and duplicates are not checked"; fi

dashboard: ## Build dashboard/dist, which the next build of taut takes in (crates/cli/build.rs looks again when it is touched)
	@if [ ! -f dashboard/package.json ]; then echo "dashboard/ is not here: taut is built without it"; \
	elif ! command -v npm >/dev/null || [ "$$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -lt $(NODE) ]; then \
		echo "the dashboard needs Node.js $(NODE) or newer with npm, which is not here: taut is built without it (apt-get install nodejs npm, or https://nodejs.org)"; \
	elif [ -f dashboard/dist/index.html ] && [ -z "$$(find dashboard -path dashboard/node_modules -prune -o -path dashboard/dist -prune -o -type f -newer dashboard/dist/index.html -print -quit)" ]; then \
		echo "the dashboard is built"; \
	else cd dashboard && npm ci --no-audit --no-fund && npm run build && touch ../crates/cli/build.rs; fi

dashboard-lint: dashboard ## Types, format and unit tests of the dashboard, where it could be built
	@if [ -d dashboard/node_modules ]; then cd dashboard && npm run --silent lint && npm test --silent; else echo "dashboard/node_modules is not there: the dashboard is not checked"; fi

build: dashboard ## What to install
	$(CARGO) build --release -p taut -p taut-proxy

release: build ## The same, with taut-proxy built again for what a run under load has shown (needs rustup's llvm-tools and what `make bench` needs)
	$(CARGO) run -q --release -p xtask -- pgo
	cp target/pgo/tuned/*/release/taut-proxy target/release/taut-proxy

bench: build ## Throughput, CPU, latency and memory of the two-proxy path beside other proxies'; then the plan's times
	$(CARGO) build -q --release -p xtask
	./target/release/xtask bench proxy
	./target/release/xtask bench plan

bench-quick: build ## One short round of what matters most
	$(CARGO) build -q --release -p xtask
	./target/release/xtask bench proxy --quick

clean:
	$(CARGO) clean
