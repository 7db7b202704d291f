VENV   ?= .venv
PYTHON ?= python3
BIN     = $(VENV)/bin
# The binding of libvirt is built from source: where its headers and a compiler are, it is set up as well.
LIBVIRT = $(shell pkg-config --exists libvirt 2>/dev/null && command -v cc >/dev/null && echo ,libvirt)

# What developing needs on any Python.
EXTRAS  = dev,sweep,dask
# The tests make and remove thousands of small files, for which some disks take as long as the tests do. A container's /dev/shm
# may have no room, or run no program.
IN_RAM  = $(shell ! grep -q ' /dev/shm .*noexec' /proc/mounts && [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 1000000 ] 2>/dev/null && echo TMPDIR=/dev/shm)

# The tests start hundreds of Pythons; each would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup libvirt demo test check lint format fast long oracles real real-drgn compare-random record fuzz hands wheel-compiled installed-compiled test-compiled bench fuzz-device fuzz-iomem fuzz-input examples docs site playground man dist fast-python coverage matrix figures clean

help:  ## this page
	@printf 'virtiomem: the Linux virtio-mem stack in Python\n\nStart here\n'
	@printf '  make demo            set everything up and play the worked example\n'
	@printf '  make test            set everything up and run every check and test\n\nWhile working\n'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | grep -vE '^(help|demo|test):' | sed -E 's/^([a-z-]+):.*## /  make \1|/' | awk -F'|' '{printf "%-23s%s\n", $$1, $$2}'

# What running needs, and what developing needs besides. An environment that is ready for the second serves the first.
$(BIN)/.runs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(BIN)/.ready: $(BIN)/.runs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)$(LIBVIRT)]'
	@touch $@

setup: $(BIN)/.ready  ## a virtual environment with everything in it

libvirt: $(BIN)/.runs  ## what running needs, and libvirt's binding
	@pkg-config --exists libvirt || { echo "libvirt's headers are missing (Debian packages libvirt-dev, pkg-config, gcc, python3-dev)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[libvirt]'

demo: $(BIN)/.runs
	@$(BIN)/virtiomem run examples/worked-example/before.toml examples/worked-example/after.toml
	@printf '\n\n'
	@$(BIN)/virtiomem run examples/shrink-and-split.toml

test: check long real

check: lint fast  ## format, lint, types, layers, fast tests

lint: setup  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fast: setup  ## the fast tests
	$(IN_RAM) $(BIN)/python -m pytest -n 2 -q

long: setup  ## the tests too slow for every day, and ten times as many random examples
	$(IN_RAM) $(BIN)/python -m pytest -n 2 -q -m 'long or hypothesis' --hypothesis-profile long

oracles: setup  ## bring the kernels, QEMUs and lsmems that are missing, unpacked in .oracles, from the mirror that apt uses
	$(BIN)/python -m tests.real.oracles

# One file is one worker's: its tests share guests and daemons.
real: setup  ## the tests that run real programs, on every kernel and QEMU that is here; KEEP=1 keeps the outcomes for the docs
	$(if $(KEEP),VIRTIOMEM_KEEP="make real") $(BIN)/python -m pytest -n 2 --dist loadfile -q tests/real

real-drgn: setup  ## the resource tree by drgn, of real vmcores; brings drgn and 600M of debug information of Linux 6.1 and 6.12
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[drgn]'
	$(BIN)/python -m tests.real.oracles debug-6.1 debug-6.12
	$(BIN)/python -m pytest -q -p no:xdist tests/real/test_drgn.py

compare-random: setup  ## random scenarios on a real Linux and the embedded guest; N=30 FIRST=1 KERNEL=6.12 ARCHITECTURE=arm64 QEMU=PROGRAM
	$(BIN)/python -m tests.real.random_scenarios --count $(or $(N),30) --first $(or $(FIRST),1) $(addprefix --kernel ,$(KERNEL)) $(addprefix --architecture ,$(ARCHITECTURE)) $(addprefix --qemu ,$(QEMU))

record: setup  ## play the recorded scenarios again on a real Linux and keep what it does
	$(BIN)/python tests/real/record.py

fuzz: setup  ## a long random walk over the embedded guest; MINUTES=10 SEED=1
	$(BIN)/python tests/guest/embedded/walk.py --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

fuzz-device: setup  ## QEMU's virtio-mem device against ours; REQUESTS=100000 SEED=1
	$(BIN)/virtiomem device fuzz --requests $(or $(REQUESTS),100000) --seed $(or $(SEED),1)

fuzz-iomem: setup  ## the readers of /proc/iomem, guided by coverage (installs atheris); SECONDS=60
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.listing.fuzz -max_total_time=$(or $(SECONDS),60)

fuzz-input: setup  ## bad input of every kind: files, answers, arguments, calls; MINUTES=10 (each kind) or TRIALS=100000, SEED=1 KIND=
	$(BIN)/python -m tests.fuzz.run $(if $(TRIALS),--trials $(TRIALS),--minutes $(or $(MINUTES),10)) --seed $(or $(SEED),1) $(addprefix --kind ,$(KIND))

wheel-compiled: setup  ## dist/: a wheel of the same sources with the heart compiled by mypyc; needs a C compiler, running it does not
	@rm -rf build/compiled dist/virtiomem-*-linux_*.whl && mkdir -p build/compiled
	@cp -r pyproject.toml hatch_build.py README.md LICENSE src build/compiled/
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 MYPYPATH=src $(BIN)/python -m pip wheel --quiet --disable-pip-version-check -c constraints.txt --no-deps -w dist build/compiled

installed-compiled: wheel-compiled
	@rm -rf build/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/installed dist/virtiomem-*-linux_*.whl

# The tests find what is installed in build/installed before what they stand beside.
test-compiled: installed-compiled  ## the fast tests and a walk on the compiled build; TESTS=tests/driver MINUTES=0.2
	VIRTIOMEM_BUILD=compiled PYTHONPATH=build/installed $(BIN)/python -m pytest -n 2 -q $(TESTS)
	PYTHONPATH=build/installed $(BIN)/python tests/guest/embedded/walk.py --minutes $(or $(MINUTES),0.2) --seed $(or $(SEED),1)

bench: installed-compiled  ## run the benchmarks of docs/speed.md again, on both builds, and write what they print there; WORDS="builds start"
	$(BIN)/python -m docs.speed $(WORDS)

hands:  ## the program for `device check --boot`, compiled for this machine: build/hands
	@mkdir -p build
	$(CC) -Os -static -Wall -Wextra -Werror -o build/hands src/virtiomem/guest/hands/hands.c

examples: setup  ## play every example again and keep what it shows
	@for file in $$(find examples -name '*.toml'); do $(BIN)/virtiomem run $$file > $${file%.toml}.out || exit; done
	@cd examples/worked-example && ../../$(BIN)/virtiomem run before.toml after.toml > side-by-side.out

docs: setup  ## make the tables and pictures in docs again
	@$(BIN)/virtiomem device check > docs/conformance/embedded.txt || test $$? = 1
	@$(BIN)/virtiomem device check --qemu > docs/conformance/qemu-7.2.txt || test $$? = 1
	@$(BIN)/virtiomem device check --qemu qemu-system-aarch64 > docs/conformance/qemu-7.2-virt.txt || test $$? = 1
	@$(BIN)/virtiomem schema --json > docs/schemas.json
	@$(BIN)/python -m docs.fuzz
	@$(BIN)/python -m docs.rules
	@$(BIN)/python -m docs.sent
	@$(BIN)/python -m docs.doors
	@$(BIN)/python -m docs.input
	@$(BIN)/python -m docs.releases
	@$(BIN)/python -m docs.architectures
	@$(BIN)/python -m docs.matrix
	$(BIN)/python -m docs.pictures

site: setup playground  ## the documentation as a site, with every link inside it checked: build/site (installs Sphinx)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html --doctree-dir build/doctrees docs build/site

playground: $(BIN)/.runs  ## the playground, a page that any web server can serve: build/site/playground (needs npm; brings Pyodide)
	$(BIN)/python -m playground.build

man: setup  ## man pages out of the parsers that print --help: build/man
	$(BIN)/python -m docs.man build/man

dist: man  ## an sdist and a wheel, both with the man pages: dist/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build
	$(BIN)/python -m build

fast-python: setup  ## the fast tests on another Python; PYTHON=python3.14
	$(PYTHON) -m venv --without-pip build/python
	$(BIN)/python -m pip --python build/python/bin/python install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	build/python/bin/python -m pytest -n 2 -q

# On Python 3.14 coverage uses sys.monitoring. The tracer that it uses on older ones gets lost in the workers.
coverage: setup  ## lines and branches that the fast tests reach: build/coverage; PYTHON=python3.14
	$(PYTHON) -m venv --without-pip build/python
	$(BIN)/python -m pip --python build/python/bin/python install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' pytest-cov
	$(IN_RAM) build/python/bin/python -m pytest -n 2 -q --cov --cov-report=term:skip-covered --cov-report=html

matrix: setup  ## make docs/compatibility.md from what was run on real ones
	@$(BIN)/python -m docs.fuzz
	@$(BIN)/python -m docs.matrix

figures: setup  ## the source in figures: sizes, names and cycles, calls of a resize
	@$(BIN)/python benchmarks/figures.py

clean:  ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
