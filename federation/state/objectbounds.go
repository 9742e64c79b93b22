package state

import (
	"encoding/json"
	"slices"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of objects.
const (
	// maxSpec is what logs and snapshots may hold; new objects are smaller, see
	// [publishable].
	maxSpec       = 256 << 10
	maxObjectName = 256
	maxRegions    = 1000
	maxGeneration = 1 << 62
)

// publishable refuses an object that no other region would take: the stream to them
// would break at it. A log may hold one from before, so this is for whoever proposes.
func publishable(cmd Command) error {
	c, ok := cmd.(interface {
		spec() (object string, bytes int)
	})
	if !ok {
		return nil
	}
	if object, n := c.spec(); n > catalog.MaxSpec {
		return ErrInvalid.withf("%s: expected at most %d bytes of JSON, which is what other regions take of an object, found %d; make it smaller", object, catalog.MaxSpec, n)
	}
	return nil
}

func checkObject(key catalog.ObjectKey, spec json.RawMessage, deleted bool) error {
	switch {
	case key.Kind == "" || len(key.Kind) > 63 || slices.Contains([]byte(key.Kind), '/'):
		return ErrInvalid.withf("object kind %q: expected a word", key.Kind)
	case key.Name == "" || len(key.Name) > maxObjectName:
		return ErrInvalid.withf("%s: expected a name of 1 to %d bytes", key.Kind, maxObjectName)
	case len(spec) > maxSpec:
		return ErrInvalid.withf("%s: %d bytes exceed the bound of %d", key, len(spec), maxSpec)
	case !deleted && len(spec) == 0:
		return ErrInvalid.withf("%s: expected a spec", key)
	}
	return nil
}
