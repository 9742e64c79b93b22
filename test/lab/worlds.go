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
func WideScenarios() []Scenario {
	return slices.Concat(networkScenarios(), crashScenarios(), drillScenarios())
}

// Deep is two regions of three replicas, one of which has small disks, one of a
// single replica, and one that is yet to be founded.
func Deep() Options {
	return Options{
		Name: "deep", Regions: []string{"west"}, Replicas: 3, Tight: "east", Single: "south", Spare: "north",
		Config: "leafLifetime: 3m\nraft: {snapshotThreshold: 128}\n",
	}
}

// DeepScenarios are those played on [Deep], in their order.
func DeepScenarios() []Scenario { return slices.Concat(diskScenarios(), memberScenarios()) }
