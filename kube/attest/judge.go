package attest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	authentication "k8s.io/api/authentication/v1"

	"github.com/federator/federator/federation/catalog"
)

// What the caller branches on.
var (
	// ErrRefused: the token proves nothing, and will not when it is sent again.
	ErrRefused = errors.New("the token does not prove that its bearer is a pod of this cluster")
	// ErrUnavailable: the API server did not decide; it may later.
	ErrUnavailable = errors.New("the API server cannot review the token now")
)

// Audience is what a token for the replicas of a trust domain is for. It is neither
// the trust domain itself, which other software may have tokens for, nor what the
// API server takes.
func Audience(trustDomain string) string { return "federator." + trustDomain }

// Pod is who a token was made for, in the API server's words.
type Pod struct {
	Namespace, ServiceAccount string
	// Name and UID are the pod's.
	Name, UID string
	// Node is where it runs, and Credential the token's id in the audit log of the API
	// server; both are for the log, and empty with an API server that does not tell.
	Node, Credential string
}

// The keys of what an API server adds to the user of a bound token.
const (
	podNameKey    = "authentication.kubernetes.io/pod-name"
	podUIDKey     = "authentication.kubernetes.io/pod-uid"
	nodeNameKey   = "authentication.kubernetes.io/node-name"
	credentialKey = "authentication.kubernetes.io/credential-id"
)

const (
	userPrefix  = "system:serviceaccount:"
	groupPrefix = "system:serviceaccounts:"
)

// Bounds of what an API server says, in bytes.
const (
	maxName  = 253
	maxExtra = 256
	maxWords = 300
)

// judge decides by the answer to a review for the audience. It errs on the side of
// refusing: what it does not understand proves nothing.
func judge(s *authentication.TokenReviewStatus, audience string) (Pod, error) {
	if !s.Authenticated || s.Error != "" {
		return Pod{}, refused("the API server says %s; a token is good in the cluster that made it, until it expires and for as long as its pod lives: read the token file anew, and ask a replica of the pod's own cluster", words(s.Error))
	}
	// An API server that knows nothing of audiences says yes to every token and leaves
	// them out.
	if !slices.Contains(s.Audiences, audience) {
		return Pod{}, refused("it is for the audiences %.200q: expected %s", s.Audiences, audience)
	}
	p, err := account(s.User)
	if err != nil {
		return Pod{}, err
	}
	if p.Name, err = one(s.User.Extra, podNameKey); err == nil {
		p.UID, err = one(s.User.Extra, podUIDKey)
	}
	if err != nil || !isName(p.Name) {
		return Pod{}, refused("it is bound to no pod (%v): expected the token of a projected volume (serviceAccountToken), which the kubelet binds to the pod", err)
	}
	p.Node, _ = one(s.User.Extra, nodeNameKey)
	p.Credential, _ = one(s.User.Extra, credentialKey)
	return p, nil
}

// account is the service account of a user. The groups say that too; an
// authenticator of the cluster's own that hands out such a name does not know them.
func account(u authentication.UserInfo) (Pod, error) {
	rest, isAccount := strings.CutPrefix(u.Username, userPrefix)
	namespace, name, two := strings.Cut(rest, ":")
	if !isAccount || !two || catalog.ValidateLabel("namespace", namespace) != nil || !isName(name) {
		return Pod{}, refused("its user is %.100q: expected a service account (%sNAMESPACE:NAME)", u.Username, userPrefix)
	}
	if !slices.Contains(u.Groups, groupPrefix+namespace) {
		return Pod{}, refused("its user %.100q is not in the group %s%s, as every service account is", u.Username, groupPrefix, namespace)
	}
	return Pod{Namespace: namespace, ServiceAccount: name}, nil
}

// one returns the value of a key that has to have exactly one, of a sane form.
func one(extra map[string]authentication.ExtraValue, key string) (string, error) {
	values := extra[key]
	if len(values) != 1 {
		return "", fmt.Errorf("%s: expected one value, found %d", key, len(values))
	}
	v := values[0]
	if v == "" || len(v) > maxExtra || strings.ContainsFunc(v, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("%s: expected 1 to %d printable characters", key, maxExtra)
	}
	return v, nil
}

// isName reports whether s is a DNS subdomain in the sense of Kubernetes.
func isName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' || strings.ContainsFunc(part, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
		}) {
			return false
		}
	}
	return true
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// words are what an API server says, fit to be quoted.
func words(s string) string {
	if s == "" {
		return "that it is not valid"
	}
	return fmt.Sprintf("%q", s[:min(len(s), maxWords)])
}
