package enroll

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/peering/rpc"
)

// What can end a join. The texts are for operators; wrap them with what was
// expected and found. Those that a server decides cross the wire.
var (
	// ErrWrongPin: the server is not of the trust domain that the token names.
	ErrWrongPin = errors.New("the server could not prove that it belongs to the token's trust domain; nothing secret was sent. Create a token on a replica of the right federation, and check that the address leads there")
	// ErrNotOurs: what answered is not of the pod's federation, region or cluster.
	ErrNotOurs = errors.New("the server could not prove that it belongs to this pod's federation and cluster; the token was not sent. Check the address, the trust domain, the region, the cluster and where the pin came from")
	// ErrUnreachable: nothing that enrols answers at the address.
	ErrUnreachable = errors.New("the address cannot be reached; check that a replica runs there and that a firewall lets TCP through")
	// ErrClockSkew: the clocks differ too much for certificates to work.
	ErrClockSkew = errors.New("the clocks of the two machines differ too much; set them by NTP and try again")
	// ErrAnswer: a proven server gave an answer that does not hold.
	ErrAnswer = errors.New("the server's answer does not verify; nothing was changed here")

	// ErrUnknownToken: no such token, or not its secret.
	ErrUnknownToken = errors.New("the region does not know this token; create another with `federator token create`")
	// ErrExpired: the token is too old.
	ErrExpired = errors.New("the token has expired; create another with `federator token create`")
	// ErrReused: the token let in another replica already.
	ErrReused = errors.New("the token was used already by another replica; create another with `federator token create`")
	// ErrRestricted: the token is for another region or cluster.
	ErrRestricted = errors.New("the token does not allow this region or cluster")
	// ErrNameTaken: the region has a replica of that name.
	ErrNameTaken = errors.New("the name is taken in this region; choose another with --name, or remove the old replica with `federator leave NAME`")
	// ErrClusterOwned: the cluster belongs to another region.
	ErrClusterOwned = errors.New("the cluster name belongs to another region; choose another with --cluster")
	// ErrRegionRemoved: the region was removed; its old identity never returns.
	ErrRegionRemoved = errors.New("the region was removed from the federation; join with an empty data directory and a new token")
	// ErrRegionFounded: another founder was first.
	ErrRegionFounded = errors.New("another replica founded this region at the same time; try again to join it")
	// ErrIncompatible: the replica's release does not fit the region's.
	ErrIncompatible = errors.New("this release does not fit the region's; use the same one")
	// ErrRevoked: the replica's key was revoked.
	ErrRevoked = errors.New("this replica's key was revoked; join again with an empty data directory and a new token")
	// ErrUnknownReplica: no such replica is on record with that key.
	ErrUnknownReplica = errors.New("the region does not have this replica and key on record; join again with an empty data directory and a new token")
	// ErrNotAttested: the token of a pod proves nothing here.
	ErrNotAttested = errors.New("the pod could not be attested")
	// ErrNoCluster: the replica has no Kubernetes API server to ask about pods.
	ErrNoCluster = errors.New("this replica does not attest pods; ask one in the pod's own cluster whose configuration says kubernetes.enabled")
	// ErrInvalid: the request itself is wrong.
	ErrInvalid = errors.New("the request is not valid")
	// ErrTooMany: asked too often.
	ErrTooMany = errors.New("too many requests from this address; wait a few seconds and try again")
	// ErrUnavailable: the region, or the authority region, cannot decide now.
	ErrUnavailable = errors.New("the decision cannot be made now; try again with the same token")
)

// wire lists the errors that cross, each with its code and reason.
var wire = []struct {
	err    error
	code   codes.Code
	reason string
}{
	{ErrUnknownToken, codes.Unauthenticated, "UNKNOWN_TOKEN"},
	{ErrExpired, codes.FailedPrecondition, "TOKEN_EXPIRED"},
	{ErrReused, codes.FailedPrecondition, "TOKEN_REUSED"},
	{ErrRestricted, codes.PermissionDenied, "TOKEN_RESTRICTED"},
	{ErrNameTaken, codes.AlreadyExists, "NAME_TAKEN"},
	{ErrClusterOwned, codes.AlreadyExists, "CLUSTER_OWNED"},
	{ErrRegionRemoved, codes.FailedPrecondition, "REGION_REMOVED"},
	{ErrRegionFounded, codes.Aborted, "REGION_FOUNDED"},
	{ErrIncompatible, codes.FailedPrecondition, "INCOMPATIBLE"},
	{ErrRevoked, codes.PermissionDenied, "REVOKED"},
	{ErrUnknownReplica, codes.NotFound, "UNKNOWN_REPLICA"},
	{ErrNotAttested, codes.PermissionDenied, "NOT_ATTESTED"},
	{ErrNoCluster, codes.FailedPrecondition, "NO_CLUSTER"},
	{ErrInvalid, codes.InvalidArgument, "INVALID"},
	{ErrTooMany, codes.ResourceExhausted, "TOO_MANY"},
	{ErrUnavailable, codes.Unavailable, "UNAVAILABLE"},
}

// ToStatus turns an error that wraps one of this package's into one that crosses
// the wire; false if it wraps none.
func ToStatus(err error) (error, bool) {
	for _, w := range wire {
		if errors.Is(err, w.err) {
			return rpc.Error(w.code, w.reason, err.Error()), true
		}
	}
	return nil, false
}

// Code returns the wire's word for an error of this package, such as
// "NAME_TAKEN", for answers that carry it in a field; "" if it wraps none.
func Code(err error) string {
	for _, w := range wire {
		if errors.Is(err, w.err) {
			return w.reason
		}
	}
	return ""
}

// FromCode is the reverse of [Code]: an error that reads as message and wraps the
// sentinel of the code. A code of a later release wraps [ErrUnavailable].
func FromCode(code, message string) error {
	for _, w := range wire {
		if w.reason == code {
			return &remoteError{sentinel: w.err, message: message}
		}
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, message)
}

// FromStatus turns an error of a call into one that wraps a sentinel. An error
// that did not come from our server's own hand wraps [ErrUnavailable].
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	return FromCode(rpc.Reason(err), status.Convert(err).Message())
}

// remoteError is an error that was made at the other end.
type remoteError struct {
	sentinel error
	message  string
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.sentinel }
