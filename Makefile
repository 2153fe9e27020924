# Everything here works with Go alone; qemu-aarch64-static is needed for arm64, readelf for cross.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 10s
SEEDS    ?= 5000
QEMU     ?= qemu-aarch64-static
LDFLAGS   = -s -w -X main.version=$(VERSION)
CONCURRENT = ./gossip/... ./learner/... ./eval/... ./shards/...
PROCESSES  = ./agent ./cmd/shoal
PORTABLE   = ./learner/kernel/... ./shards/...

export CGO_ENABLED = 0

.PHONY: all build test race vet lint fmt fmt-check floors cross arm64 purego fuzz simulate chaos hostile soak kills membership validate performance averaging experiments counts browser ci clean

all: build

build: ## the binary for this machine
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/shoal ./cmd/shoal

test:
	$(GO) test ./...

race: ## the detector needs cgo, the binary does not; whole agents train without it, or their deadlines pass
	CGO_ENABLED=1 SEEDS=40 $(GO) test -race $(CONCURRENT)
	CGO_ENABLED=1 $(GO) test -race -gcflags='shoal/learner/...=-race=false' $(PROCESSES)

vet:
	$(GO) vet ./...

lint: vet
	$(GO) tool staticcheck ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

fmt-check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); exit 1; }

floors:
	$(GO) test -count=1 .

cross: ## one static binary per kind of node
	@set -e; for target in amd64 arm64 arm; do \
	  out=dist/shoal-linux-$$target; \
	  GOOS=linux GOARCH=$$target GOARM=7 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $$out ./cmd/shoal; \
	  headers=$$(readelf --program-headers --wide $$out); \
	  case "$$headers" in *INTERP*|*DYNAMIC*) echo "$$out: not static"; exit 1;; esac; \
	  echo "$$out: static, $$(wc -c <$$out) bytes"; \
	done

arm64: ## the kernels' NEON code and the shards' arithmetic, as a Pi runs them
	GOARCH=arm64 $(GO) test -exec $(QEMU) $(PORTABLE)
	GOARCH=arm64 $(GO) test -exec $(QEMU) -run Traces ./learner

purego: ## without assembly
	$(GO) test -tags purego ./learner/... ./gossip/collective/...

fuzz: ## every fuzz test for FUZZTIME, one at a time; go test may take its own deadline for a failure, without an input: once more then
	@set -e; for package in $$($(GO) list ./...); do \
	  for name in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$name"; \
	    try="$(GO) test -run ^$$ -fuzz ^$$name$$ -fuzztime $(FUZZTIME) $$package"; \
	    said=$$($$try 2>&1) && { echo "$$said"; continue; }; \
	    echo "$$said"; \
	    case "$$said" in *"Failing input"*) exit 1;; *"context deadline exceeded"*) $$try;; *) exit 1;; esac; \
	  done; \
	done

simulate: ## whole clusters under every fault, from SEEDS seeds, and every kill of a quiet one; SEED=7 replays one and says what happened
	SEEDS=$(SEEDS) KILLS=1 $(GO) test -count=1 -timeout 60m -v -run '^Test(Simulate|KilledAtAnyMoment)$$' ./gossip/roster
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 60m -v -run '^TestSimulate' ./gossip

chaos: ## real agents in namespaces, killed, paused, parted, starved, and power cuts in their files; HOURS=8 soaks; as root
ifneq ($(HOURS),)
	$(MAKE) soak
else
	SHOAL_CHAOS=$(or $(SEED),1) $(GO) test -count=1 -v -p 1 -parallel 2 -timeout 15m -run '^TestChaos|^TestPowerCut|^TestKills' ./agent ./agent/chaos
endif

kills: ## every death of a member of real clusters of 2, 3, 5 and 8, before and after each step of a round; KILLS=20 makes so many each
	SHOAL_KILLS=$(or $(KILLS),all) $(GO) test -count=1 -v -timeout 60m -run '^TestKills$$' ./agent

hostile: ## by how much the rounds of honest agents slow down beside one that floods, lies or repeats; alone on the machine
	SHOAL_HOSTILE=1 $(GO) test -count=1 -v -timeout 20m -run '^TestHostile' ./agent/chaos

soak: ## eight agents, disturbed every ten seconds for so many HOURS (0.1 will do) at random from SEED; as root
	SHOAL_SOAK_HOURS=$(or $(HOURS),8) SHOAL_CHAOS=$(or $(SEED),1) $(GO) test -count=1 -v -timeout 0 -run '^TestSoak$$' ./agent/chaos

membership: ## docs/membership.md: how soon a death is known under load, and 32 agents agree; HOURS=1 waits for false deaths too
	SHOAL_MEMBERSHIP=$(CURDIR)/docs/membership/record.json SHOAL_MEMBERSHIP_HOURS=$(HOURS) $(GO) test -count=1 -v -timeout 30h -run '^TestMembership[^P]' ./agent/chaos
	$(GO) test -run '^TestMembershipPage$$' ./agent/chaos -update

validate: ## the lab's time model against real agents over cables of 100 Mbit/s and 1 Gbit/s; four minutes, alone on the machine, as root
	SHOAL_VALIDATE=$(CURDIR)/docs/lab/validation.json $(GO) test -count=1 -v -timeout 10m -run '^TestValidateTimes$$' ./agent/chaos

performance: ## docs/performance.md from its records; RECORD=1 measures all of them first, while nothing else runs
	$(if $(RECORD),$(MAKE) build)
	$(GO) run ./docs/performance/gen $(if $(RECORD),-record dist/shoal)

averaging: ## docs/averaging.md from its record; RECORD=1 measures it first, beside Open MPI over shaped links, as root
	$(if $(RECORD),$(MAKE) build)
	$(GO) run ./docs/averaging/gen $(if $(RECORD),-record dist/shoal)

experiments: ## docs/experiments from the rows that are kept; RECORD="churn outer" runs these in the lab first, for minutes to hours
	$(GO) run ./docs/experiments/gen $(if $(RECORD),-record $(RECORD))

counts: ## the instructions of a training step on arm64, counted under user-mode QEMU, and docs/performance.md with them
	GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o dist/shoal-symbols ./cmd/shoal
	$(GO) run ./docs/performance/gen -count dist/shoal-symbols

browser: ## reports of experiments in a headless Chromium, on a telephone and on a desk; says so where there is none
	SHOAL_BROWSER=$(or $(BROWSER),find) $(GO) test -count=1 -v -run '^TestBrowser$$' ./eval/lab/report

ci:
	.ci/run

clean:
	rm -rf dist
