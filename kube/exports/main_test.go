package exports

import (
	"testing"

	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }
