package checker

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one read or write of a register, as a client saw it. Times are
// since the history began.
type operation struct {
	client    int
	key       string
	write     bool
	value     uint64 // written, or read; 0 reads "nothing there"
	call, end time.Duration
	// unknown: the client does not know whether it took effect. It may do so at
	// any moment from the call on, also long after.
	unknown bool
}

// history records operations. It is safe for concurrent use.
type history struct {
	mu    sync.Mutex
	began time.Time
	limit int
	all   []operation
}

// add keeps an operation, and reports whether there is room for more.
func (h *history) add(o operation) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= h.limit {
		return false
	}
	h.all = append(h.all, o)
	return len(h.all) < h.limit
}

func (h *history) operations() []operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// settled makes a history that can be checked quickly out of one with unknown
// outcomes, and is as strict: values are written once, so that
//   - a write of unknown outcome that nobody read could have happened after
//     everything else: it is left out;
//   - one that was read had happened when the first such read ended.
func settled(all []operation) []porcupine.Operation {
	type place struct {
		key   string
		value uint64
	}
	seen := map[place]int64{}
	for _, o := range all {
		if o.write || o.unknown {
			continue
		}
		at := place{o.key, o.value}
		if first, ok := seen[at]; !ok || int64(o.end) < first {
			seen[at] = int64(o.end)
		}
	}
	var out []porcupine.Operation
	for _, o := range all {
		end := int64(o.end)
		if o.unknown {
			first, read := seen[place{o.key, o.value}]
			if !o.write || !read {
				continue
			}
			end = max(first, int64(o.call))
		}
		out = append(out, porcupine.Operation{
			ClientId: o.client, Input: request{o.key, o.write, o.value}, Call: int64(o.call), Output: o.value, Return: end,
		})
	}
	return out
}

// request is the input of an operation to the model.
type request struct {
	key   string
	write bool
	value uint64
}

// registers is the model: a register per key, empty at first.
func registers() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string]int{}
			var out [][]porcupine.Operation
			for _, o := range all {
				key := o.Input.(request).key
				i, ok := byKey[key]
				if !ok {
					i = len(out)
					byKey[key], out = i, append(out, nil)
				}
				out[i] = append(out[i], o)
			}
			return out
		},
		Init: func() any { return uint64(0) },
		Step: func(state, input, output any) (bool, any) {
			in := input.(request)
			if in.write {
				return true, in.value
			}
			return output == state, state
		},
		DescribeOperation: func(input, output any) string {
			in := input.(request)
			if in.write {
				return fmt.Sprintf("%s = %d", in.key, in.value)
			}
			return fmt.Sprintf("%s is %d", in.key, output)
		},
	}
}

// linearizable checks a history, for at most so long.
func linearizable(all []operation, within time.Duration) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	return porcupine.CheckOperationsVerbose(registers(), settled(all), within)
}
