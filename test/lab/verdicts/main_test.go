package verdicts_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/reap"
)

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	if network.Wanted() {
		_, end, err := reap.Files()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		defer end.Close()
	}
	goleak.VerifyTestMain(m)
}
