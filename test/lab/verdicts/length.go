package verdicts

import (
	"fmt"
	"os"
	"time"
)

// Variable names the environment variable that says for how long each world is
// lived in, such as 30m. Without it a short run is made, without memberlist.
const Variable = "VERDICTS"

// short is the length of the short run.
const short = 60 * time.Second

// Length is how long a run is to be, and whether it is a long one.
func Length() (length time.Duration, long bool, err error) {
	text := os.Getenv(Variable)
	if text == "" {
		return short, false, nil
	}
	length, err = time.ParseDuration(text)
	if err == nil && length < short {
		err = fmt.Errorf("found %v", length)
	}
	if err != nil {
		return 0, false, fmt.Errorf("%s: expected a duration of at least %v such as 30m: %w", Variable, short, err)
	}
	return length, true, nil
}
