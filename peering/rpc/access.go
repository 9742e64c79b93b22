package rpc

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/port"
)

// ReasonNotAllowed is the [Reason] of every refusal by [Access].
const ReasonNotAllowed = "NOT_ALLOWED"

// Access decides who may call what.
type Access struct {
	TrustDomain string
	// Region is the replica's own.
	Region string
	// Role looks up what an operator of the name may do, now; false if nothing.
	Role func(name string) (catalog.Role, bool)
	Log  *slog.Logger
}

// roles in rising order: each includes the ones before it.
var roles = []catalog.Role{catalog.RoleViewer, catalog.RoleOperator, catalog.RoleAdmin}

// Authorise decides whether the caller of ctx may call the method, written
// "/package.Service/Method". The error says who would be allowed.
func (a *Access) Authorise(ctx context.Context, method string) error {
	need, ok := methods[method]
	if !ok {
		return Error(codes.Unimplemented, ReasonNotAllowed, "unknown method "+method)
	}
	p, ok := PeerOf(ctx)
	if !ok {
		return denied("the caller is not known")
	}
	if (p.Protocol == port.Enroll) != (need == stranger) {
		return denied(fmt.Sprintf("%s is not served on this kind of connection (%s)", method, cmp.Or(p.Protocol, "socket")))
	}
	switch need {
	case stranger:
		return nil
	case sibling:
		return allow(identity.AllowRegion(a.TrustDomain, a.Region), p)
	case replica:
		return allow(identity.AllowReplica(a.TrustDomain), p)
	}
	return a.operator(p, catalog.Role(need))
}

func allow(authorise identity.Authoriser, p Peer) error {
	if p.Local != nil {
		return denied("this is for replicas, not for the local socket")
	}
	if err := authorise(p.ID); err != nil {
		return denied(err.Error())
	}
	return nil
}

func (a *Access) operator(p Peer, need catalog.Role) error {
	if p.Local != nil {
		return localAdmin(p.Local.UID)
	}
	if err := identity.AllowOperator(a.TrustDomain)(p.ID); err != nil {
		return denied(err.Error())
	}
	role, ok := a.Role(p.ID.Name)
	if !ok {
		return denied(fmt.Sprintf("operator %q has no role here; an admin grants one with `federator operator create`", p.ID.Name))
	}
	if slices.Index(roles, role) < slices.Index(roles, need) {
		return denied(fmt.Sprintf("this needs the role %s, and operator %q is %s", need, p.ID.Name, role))
	}
	return nil
}

// localAdmin admits root and the user that the agent runs as.
func localAdmin(uid int) error {
	if own := os.Geteuid(); uid != 0 && uid != own {
		return denied(fmt.Sprintf("the socket serves root and the agent's own user (uid %d), and the caller has uid %d; run as either, or use an operator certificate", own, uid))
	}
	return nil
}

func denied(message string) error {
	return Error(codes.PermissionDenied, ReasonNotAllowed, message)
}
