package identity

import (
	"errors"
	"fmt"
)

// ErrNotAuthorised is wrapped by every refusal of a proven but unwanted peer.
var ErrNotAuthorised = errors.New("not authorised")

// Authoriser decides whether a verified peer may use a connection.
type Authoriser func(ID) error

// AllowReplica admits every replica of the trust domain.
func AllowReplica(trustDomain string) Authoriser {
	return allow("a replica of "+trustDomain, func(id ID) bool {
		return id.Kind == Replica && id.TrustDomain == trustDomain
	})
}

// AllowRegion admits the replicas of one region.
func AllowRegion(trustDomain, region string) Authoriser {
	return allow("a replica of region "+region, func(id ID) bool {
		return id.Kind == Replica && id.TrustDomain == trustDomain && id.Region == region
	})
}

// AllowOperator admits the operators of the trust domain.
func AllowOperator(trustDomain string) Authoriser {
	return allow("an operator of "+trustDomain, func(id ID) bool {
		return id.Kind == Operator && id.TrustDomain == trustDomain
	})
}

// AllowID admits exactly one party.
func AllowID(want ID) Authoriser {
	return allow(want.String(), func(id ID) bool { return id == want })
}

// AllowAny admits whoever one of the authorisers admits.
func AllowAny(authorisers ...Authoriser) Authoriser {
	return func(id ID) error {
		var errs []error
		for _, a := range authorisers {
			err := a(id)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}

func allow(expected string, ok func(ID) bool) Authoriser {
	return func(id ID) error {
		if ok(id) {
			return nil
		}
		return fmt.Errorf("peer %s: %w: expected %s", id, ErrNotAuthorised, expected)
	}
}
