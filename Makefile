# The two commands of the README are `make demo` and `make test`; each prepares .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find plugins examples tests -name '*.h' -o -name '*.cuh' -o -name '*.cu' -o -name '*.cpp' -o -name '*.c')

.PHONY: setup demo test gpu-check lint format wheel clean

setup:
	@$(PYTHON) tools/setup_venv.py $(VENV) --editable --compiler --server ".[dev]"

demo: setup
	@$(BIN)/python tools/demo.py demo

# One thread a process: two processes with two each would wait for one another.
test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# For a machine with a GPU: no environment is made and nothing installed. PYTHON is the one that has PyTorch with CUDA.
gpu-check:
	@$(PYTHON) benchmarks/gpu_check.py $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/clang-format --dry-run -Werror $(NATIVE)

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(NATIVE)

wheel: setup
	@$(BIN)/python -m build --no-isolation --outdir dist

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
