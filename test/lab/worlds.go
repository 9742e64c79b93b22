package lab

import (
	"os"
	"slices"
	"strconv"
)

// SeedVariable names the environment variable with the seed, by which a run can
// be repeated; DefaultSeed is the seed without it.
const (
	SeedVariable = "FEDERATOR_LAB_SEED"
	DefaultSeed  = 20261125
)

// Seed is the seed of this run. One that is no number is the default.
func Seed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv(SeedVariable), 10, 64); err == nil {
		return n
	}
	return DefaultSeed
}

// Wide is three regions of three replicas each.
func Wide() Options {
	return Options{Name: "wide", Regions: []string{"west", "east", "south"}, Replicas: 3, Config: "leafLifetime: 3m\n"}
}

// WideScenarios are those played on [Wide], in their order.
func WideScenarios() []Scenario { return slices.Concat(networkScenarios(), crashScenarios()) }
