# Two commands matter: `make demo` and `make test`. Everything else is called by them or by hand.
CARGO ?= cargo
PROFILE ?= release

.PHONY: demo test lint build bench clean

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
	@if command -v cargo-deny >/dev/null; then cargo-deny --offline check bans licenses sources; else echo "cargo-deny is not installed: licences and duplicates are not checked"; fi

build:
	$(CARGO) build --profile $(PROFILE) -p taut -p taut-proxy

bench: build ## CPU, latency and memory of the two-proxy path beside HAProxy's
	$(CARGO) run -q --release -p xtask -- bench proxy

clean:
	$(CARGO) clean
