package file

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

// reader reads the nodes of a services file.
type reader struct {
	*strictyaml.Reader
	endpoints int
}

func (r *reader) scalar(n *yaml.Node, at string) string {
	s, _ := r.Scalar(n, at)
	return s
}

func (r *reader) label(n *yaml.Node, at, what string) string {
	return strictyaml.Parsed(r.Reader, n, at, func(s string) (string, error) { return s, catalog.ValidateLabel(what, s) })
}

func (r *reader) integer(n *yaml.Node, at string, low, high int) int {
	return strictyaml.Parsed(r.Reader, n, at, func(s string) (int, error) {
		v, err := strconv.Atoi(s)
		if err != nil || v < low || v > high {
			return 0, fmt.Errorf("%s: expected a whole number from %d to %d, found %q", at, low, high, strictyaml.Clip(s))
		}
		return v, nil
	})
}

func (r *reader) duration(n *yaml.Node, at string, low, high time.Duration) time.Duration {
	return strictyaml.Parsed(r.Reader, n, at, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("%s: expected a duration from %v to %v, for example 2s, found %q", at, low, high, strictyaml.Clip(s))
		}
		return d, nil
	})
}
