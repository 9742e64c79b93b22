// Command table writes what the failure lab has found into the table of
// docs/reliability.md:
//
//	go run ./test/lab/table bin/lab docs/reliability.md
package main

import (
	"fmt"
	"os"

	"github.com/federator/federator/test/lab"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "expected a directory of results and a page, such as: go run ./test/lab/table bin/lab docs/reliability.md")
		return 2
	}
	if err := write(args[0], args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func write(results, path string) error {
	runs, err := lab.ReadRuns(results)
	if err != nil {
		return err
	}
	table, err := lab.Table(runs)
	if err != nil {
		return err
	}
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rewritten, err := lab.Rewrite(string(page), table)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(rewritten), 0o644)
}
