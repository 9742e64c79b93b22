package verdicts_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/reap"
)

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	os.Exit(run(m))
}

// run has the files of a run removed however it ends.
func run(m *testing.M) int {
	if network.Wanted() {
		_, end, err := reap.Files()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer end.Close()
	}
	return clean(m.Run())
}

// probesEnd is how long memberlist's last probes may take: it waits for them to
// time out also after it was shut down, with its WAN defaults and on a bad network
// for up to 40 s.
const probesEnd = time.Minute

// clean fails what passed and left goroutines behind.
func clean(code int) int {
	for deadline := time.Now().Add(probesEnd); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
