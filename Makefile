.DEFAULT_GOAL := help
.PHONY: help build image dev story test e2e e2e-kind clusters controlplane lab lab-table soak verdicts race lint generate fuzz bench ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/federator
	CGO_ENABLED=0 go build -trimpath -o bin/federator ./cmd/federator

image: ## the container image as an OCI tar, with SBOMs, into bin
	go run -C tools ./image -out $(CURDIR)/bin/federator-image.tar

dev: ## three regions on this machine
	go run ./cmd/federator dev

story: ## the same, unattended: kill, fail, evacuate, and measure
	go run ./cmd/federator dev --story

test: ## the tests
	go test ./...

KUBERNETES = FEDERATOR_CONTROLPLANE=1 FEDERATOR_E2E_SLOW=$(SLOW) go test -count=1 -timeout 30m
e2e: controlplane ## real Kubernetes: three clusters with federator in pods, and what needs no pods; root on Linux; SLOW=1: the long forms, and all of test/e2e
	$(KUBERNETES) -p 2 ./test/clusters ./test/controlplane/... ./federation ./kube/imports
	$(KUBERNETES) -p 1 ./test/kube $(if $(SLOW),./test/e2e)

e2e-kind: ## the tests on three clusters of kind; needs Docker and kind, see test/kind
	go run ./test/kind

clusters: ## three real Kubernetes clusters on this machine to try federator on, until Ctrl-C; root on Linux, see docs/kubernetes.md
	go run ./test/controlplane/up

controlplane: ## etcd and Kubernetes for the tests on real clusters (FEDERATOR_CONTROLPLANE=1), into the user's cache; ten minutes, once
	go run ./test/controlplane/build

UPGRADE ?= ./test/upgrade
lab: ## the failure lab; root on Linux, nothing else beside it; FEDERATOR_LAB_SEED=n repeats a run
	FEDERATOR_LAB=1 FEDERATOR_LAB_RESULTS=$${FEDERATOR_LAB_RESULTS:-$(CURDIR)/bin/lab} go test -count=1 -p 1 -timeout 40m ./test/lab ./test/lab/checker ./test/lab/verdicts
	FEDERATOR_LAB=1 go test -count=1 -p 2 -timeout 25m $(UPGRADE) $$(go list ./test/lab/... | grep -vE '/lab(/checker|/verdicts)?$$') ./federation/drill

lab-table: ## what make lab found last, into docs/reliability.md
	go run ./test/lab/table $${FEDERATOR_LAB_RESULTS:-bin/lab} docs/reliability.md

soak: ## faults composed by a seed on one world, for SOAK (default 10m)
	FEDERATOR_LAB=1 SOAK=$${SOAK:-10m} FEDERATOR_LAB_RESULTS=$${FEDERATOR_LAB_RESULTS:-$(CURDIR)/bin/soak} go test -count=1 -timeout 24h -v -run 'TestSoak$$' ./test/lab

verdicts: ## region verdicts for real, VERDICTS (30m) of loss and of jitter, beside memberlist, into docs/reliability.md; root on Linux
	FEDERATOR_LAB=1 VERDICTS=$${VERDICTS:-30m} go test -count=1 -timeout 24h -v -run 'TestRegionsLiveWith' ./test/lab/verdicts

race: ## the tests under the race detector
	go test -race ./...

lint: ## format, vet, staticcheck
	test -z "$$(gofmt -l $$(git ls-files '*.go'))" && go vet ./... && go tool -modfile=tools/go.mod staticcheck ./...

generate: ## the Go code of the .proto files, and what is made of the types in kube/api
	go tool -modfile=tools/go.mod buf generate
	go tool -modfile=tools/go.mod controller-gen object crd paths=./kube/api/... output:crd:dir=deploy/clusters/crds

fuzz: ## every fuzz target for FUZZTIME (default 30s)
	@bin=$$(mktemp) && trap 'rm -f "$$bin"' EXIT; cache=$$(go env GOCACHE)/fuzz/$$(go list -m); \
	for pkg in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		go test -c -ldflags='-s -w' -fuzz . -o "$$bin" ./$$pkg || exit 1; \
		for f in $$(git grep -h '^func Fuzz' -- $$pkg/*_test.go | sed 's/func \(Fuzz[A-Za-z0-9_]*\).*/\1/'); do \
			echo "$$pkg $$f"; (cd $$pkg && "$$bin" -test.run '^$$' -test.fuzz "^$$f$$" -test.fuzztime $${FUZZTIME:-30s} -test.fuzzcachedir "$$cache/$$pkg") || exit 1; done; done

bench: ## the benchmarks; BENCHTIME=1x: each once
	go test -run '^$$' -bench . -benchmem $(if $(BENCHTIME),-benchtime $(BENCHTIME)) $$(git grep -l '^func Benchmark' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')

ci: ## what runs before a change lands
	.ci/run
