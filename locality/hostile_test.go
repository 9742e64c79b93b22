package locality

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

// Who owns a region can write policies that nobody has validated. Whatever they say,
// a reader resolves: it neither fails nor gives an endpoint more than all.
func TestAPolicyThatNobodyValidatedIsResolvedAllTheSame(t *testing.T) {
	numbers := rapid.SampledFrom([]uint32{0, 1, 99, 100, 140, 1000, 1_000_000, math.MaxInt32, math.MaxUint32 - 1, math.MaxUint32})
	durations := rapid.SampledFrom([]catalog.Duration{math.MinInt64, -1, 0, 1, catalog.Duration(time.Hour), math.MaxInt64})
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p := drawPolicy(t)
		p.OverprovisioningPercent = numbers.Draw(t, "overprovisioning")
		p.PanicThresholdPercent = new(numbers.Draw(t, "panic"))
		p.Ramp = new(durations.Draw(t, "ramp"))
		p.Safety = &catalog.Safety{MinRegions: numbers.Draw(t, "regions"), MinEndpointsPercent: numbers.Draw(t, "endpoints"), Gates: []string{"", "../x"}}
		for place := range p.Weights {
			p.Weights[place] = numbers.Draw(t, "weight "+place)
		}
		p.RegionOrder = append(p.RegionOrder, "", "us-west", "us-west")
		cond := *in.Conditions
		cond.Policies = map[string]catalog.Policy{in.Service.Name.String(): p}
		in.Conditions = &cond
		res := Resolve(in)
		checkInvariants(t, in, res)
		var ramps Ramps
		ramps.Step(time.Unix(1000, 0), in)
		ramps.Step(time.Unix(1001, 0), in)
	})
}
