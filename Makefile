# `make quickstart` and `make test` are the whole set-up on a machine that has Rust, a C compiler, git and make.

CARGO ?= cargo
RUN   := target/release/selectiv

.PHONY: build quickstart test check lint drivers clean

build:
	$(CARGO) build --release --locked

# Trains a small Gated DeltaNet on a small Task 1 grammar, on the best GPU here or on the CPU.
quickstart: build
	rm -rf runs/quickstart
	$(RUN) train tasks/quickstart.toml --model gated_delta_net --out runs/quickstart
	@echo "learning curve: runs/quickstart/curve.svg"

# All tests, on the CPU and on every Vulkan driver found (a software one is installed where none is). Mesa's software driver
# compiles kernels for longer than it runs them: without its optimiser, and for short vectors, those of linear_attention and gru
# took 54 s instead of 62.
test: export GALLIVM_PERF ?= nopt
test: export LP_NATIVE_VECTOR_WIDTH ?= 128
test: drivers
	$(CARGO) test --locked

# What a change has to pass.
check: lint test
	$(CARGO) run --locked -- check --fixtures-only --quiet --device cpu

# Every file, with each set of features.
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features cli -- -D warnings
	$(CARGO) clippy --locked --lib --test all --no-default-features -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features --features gpu -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# Kernels are tested on software Vulkan where there is no GPU. Without root, or without apt, it says what to install.
drivers:
	@if ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1 || [ "$$(uname -s)" != Linux ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq mesa-vulkan-drivers libvulkan1 >/dev/null; \
	else echo "no Vulkan driver: kernels will not be tested; install mesa-vulkan-drivers and libvulkan1"; fi

clean:
	$(CARGO) clean
