// Package order is what the tests tell the first process of a node: one JSON
// object a line each way.
package order

// Order is one of its fields.
type Order struct {
	Machine *Machine `json:"machine,omitempty"`
	Start   *Start   `json:"start,omitempty"`
	Kill    string   `json:"kill,omitempty"`  // a program, at once; answered when it is gone
	Alive   string   `json:"alive,omitempty"` // an error unless it runs
}

// Machine says what the node sees of the machine's files.
type Machine struct {
	Hostname string `json:"hostname"`
	// Binds are directories and files that are put in the place of others: what the
	// node sees -> what is there.
	Binds map[string]string `json:"binds"`
	// Hierarchies are the names of the cgroup v1 hierarchies.
	Hierarchies []string `json:"hierarchies"`
}

// Start is a program to be started.
type Start struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Log  string   `json:"log"` // a file that is added to
}

// Answer says how it went.
type Answer struct {
	Error string `json:"error,omitempty"`
}
