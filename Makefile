# Thin names for the commands of every day. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help packages run build test bench lint format docs check clean

SOURCES := Sources Tests Package.swift
LIBRARIES := Cryptography Messages Agreement StateStore DurableStore Transport Aardvark KeyValueService Workloads \
	Adversary Simulation Lab
PROGRAM := .build/release/aardvark
LAB := .build/release/aardvark-lab

help: ## List these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

packages: ## Install the system packages that are missing
	@.ci/install-packages

run: build ## Build in release, and run a cluster of 4 replicas below .aardvark until Ctrl-C
	@exec $(PROGRAM) up

build: packages ## Build the program in release
	swift build -c release --product aardvark

test: packages ## Build and run all tests
	swift build --build-tests
	swift test --skip-build --no-parallel

bench: build ## Both protocols under attack, in about 3 minutes: a table, and a report below .aardvark/bench
	swift build -c release --product aardvark-lab
	@mkdir -p .aardvark/bench
	@exec $(LAB) attack --scenario Config/scenarios/short.yaml --output .aardvark/bench/$$(date -u +%Y%m%d-%H%M%S)

lint: ## Check the format of the sources
	swift format lint --strict --recursive --parallel $(SOURCES)

format: ## Put the sources in their format
	swift format format --in-place --recursive --parallel $(SOURCES)

docs: packages ## Build the documentation; a warning in it is an error
	.ci/check-docs $(LIBRARIES)

check: ## Everything that the continuous integration checks
	.ci/run

clean: ## Remove what was built; clusters are kept
	swift package clean
