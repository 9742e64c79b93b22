package operator

import (
	"fmt"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// maxPurpose is the bound of a token's purpose in the state, in bytes.
const maxPurpose = 128

// JoinPurpose is what a join token is good for, as [state.Token] keeps it in its
// Purpose: "join", then " region=R" and " cluster=C" where it is restricted, then
// " # " and the description, if any. For example
//
//	join region=eu-central cluster=eu-1 # rack 7
type JoinPurpose struct {
	// Region and Cluster are all the token is good for; empty is any.
	Region, Cluster string
	Description     string
}

// String returns the text form.
func (p JoinPurpose) String() string {
	var b strings.Builder
	b.WriteString("join")
	if p.Region != "" {
		b.WriteString(" region=" + p.Region)
	}
	if p.Cluster != "" {
		b.WriteString(" cluster=" + p.Cluster)
	}
	if p.Description != "" {
		b.WriteString(" # " + p.Description)
	}
	return b.String()
}

// Validate reports whether the purpose can be written down and read back.
func (p JoinPurpose) Validate() error {
	if p.Region != "" {
		if err := catalog.ValidateLabel("region", p.Region); err != nil {
			return err
		}
	}
	if p.Cluster != "" {
		if err := catalog.ValidateCluster(p.Cluster); err != nil {
			return err
		}
	}
	if strings.TrimSpace(p.Description) != p.Description || strings.ContainsFunc(p.Description, isControl) {
		return fmt.Errorf("description %q: expected one line without space around it", p.Description)
	}
	if n := len(p.String()) - maxPurpose; n > 0 {
		return fmt.Errorf("the description is %d bytes too long: it has room for %d beside the region and the cluster", n, max(0, len(p.Description)-n))
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// ParsePurpose reads the text form; false if the token is for something else.
func ParsePurpose(s string) (JoinPurpose, bool) {
	var p JoinPurpose
	rest, ok := strings.CutPrefix(s, "join")
	if !ok {
		return p, false
	}
	rest, p.Description, _ = strings.Cut(rest, " # ")
	if rest != "" && rest[0] != ' ' {
		return JoinPurpose{}, false
	}
	for _, field := range strings.Fields(rest) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "region":
			p.Region = value
		case "cluster":
			p.Cluster = value
		default:
			return JoinPurpose{}, false
		}
	}
	return p, p.Validate() == nil
}

// Allows reports whether a replica of the region and cluster may join with the
// token; the error says what the token is good for.
func (p JoinPurpose) Allows(region, cluster string) error {
	if p.Region != "" && p.Region != region {
		return fmt.Errorf("the token is good for region %s only, not for %s; create another with federator token create --region %s", p.Region, region, region)
	}
	if p.Cluster != "" && p.Cluster != cluster {
		return fmt.Errorf("the token is good for cluster %s only, not for %s; create another with federator token create --cluster %s", p.Cluster, cluster, cluster)
	}
	return nil
}
