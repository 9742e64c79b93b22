package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/test/lab/checker"
)

// ResultsVariable names the environment variable with the directory for what a
// run finds: a JSON file per world, and pictures of violations.
const ResultsVariable = "FEDERATOR_LAB_RESULTS"

// Results is that directory, "" for none.
func Results() string { return os.Getenv(ResultsVariable) }

// Row is what was found in one scenario.
type Row struct {
	Scenario string
	Says     string `json:",omitempty"`
	World    string
	Seconds  float64
	Reports  []checker.Report
	// Figures are the scenario's own.
	Figures []checker.Figure `json:",omitempty"`
}

// Run is what was found on one world.
type Run struct {
	World string
	Seed  uint64
	Date  time.Time
	Rows  []Row
}

// record adds a row to the file of the world, and replaces an older one of the
// same scenario in this run.
func (w *World) record(row Row) error {
	dir := Results()
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, "run-"+w.opt.Name+".json")
	run, err := readRun(path)
	if err != nil || !run.Date.Equal(w.story.began.Round(0)) {
		run = Run{World: w.opt.Name, Seed: w.opt.Seed, Date: w.story.began.Round(0)}
	}
	run.Rows = append(slices.DeleteFunc(run.Rows, func(r Row) bool { return r.Scenario == row.Scenario }), row)
	b, err := json.MarshalIndent(run, "", "\t")
	if err != nil {
		return fmt.Errorf("results of the lab: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("results of the lab: %w", err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("results of the lab: %w", err)
	}
	return nil
}

func readRun(path string) (Run, error) {
	var run Run
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &run)
	}
	return run, err
}

// ReadRuns reads the files of all worlds in a directory.
func ReadRuns(dir string) ([]Run, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "run-*.json"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("expected files run-*.json in %s, found none; run make lab with %s=%s", dir, ResultsVariable, dir)
	}
	var all []Run
	for _, path := range paths {
		run, err := readRun(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, run)
	}
	slices.SortFunc(all, func(a, b Run) int { return strings.Compare(a.World, b.World) })
	return all, nil
}
