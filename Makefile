# Two commands matter: `make demo` and `make test`. Everything else is called by them or by hand.
CARGO ?= cargo
PROFILE ?= demo

.PHONY: demo test lint build bench bench-quick clean

demo: ## Build, and run the bookstore with its mesh
	$(CARGO) build --profile $(PROFILE) -p taut
	@echo "The dashboard is not part of this version; the page and \`taut status\` are."
	./target/$(PROFILE)/taut demo --fresh

test: lint ## Everything: house rules, unit, simulation, end-to-end
	$(CARGO) build -p taut -p taut-proxy
	$(CARGO) test --workspace

lint:
	$(CARGO) fmt --all --check
	$(CARGO) run -q -p xtask -- tidy
	$(CARGO) clippy --workspace --all-targets -q -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo-deny --log-level error check bans licenses sources; else echo "cargo-deny is not installed: licences and duplicates are not checked"; fi

build: ## What to install
	$(CARGO) build --release -p taut -p taut-proxy

bench: build ## Throughput, CPU, latency and memory of the two-proxy path beside other proxies'; then the plan's times
	$(CARGO) build -q --release -p xtask
	./target/release/xtask bench proxy
	./target/release/xtask bench plan

bench-quick: build ## One short round of what matters most
	$(CARGO) build -q --release -p xtask
	./target/release/xtask bench proxy --quick

clean:
	$(CARGO) clean
