package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/port"
)

// Peer is who calls, as the connection has proven it.
type Peer struct {
	credentials.CommonAuthInfo
	// Protocol is the ALPN protocol, "" on the local socket.
	Protocol string
	// ID is the zero value for a peer without a certificate.
	ID identity.ID
	// Local is set on the local socket only.
	Local *Local
}

// Local is a process on this machine.
type Local struct{ UID, PID int }

// AuthType names the kind of proof, for gRPC.
func (p Peer) AuthType() string {
	if p.Local != nil {
		return "socket"
	}
	return "mtls"
}

// PeerOf returns who makes the call that ctx belongs to.
func PeerOf(ctx context.Context) (Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	known, ok := p.AuthInfo.(Peer)
	return known, ok
}

// PeerID returns the identity of the caller; false if it has none.
func PeerID(ctx context.Context) (identity.ID, bool) {
	p, _ := PeerOf(ctx)
	return p.ID, p.ID != identity.ID{}
}

// Actor names the caller in the audit trail: a SPIFFE ID or "uid:N".
func Actor(ctx context.Context) string {
	switch p, _ := PeerOf(ctx); {
	case p.Local != nil:
		return fmt.Sprintf("uid:%d", p.Local.UID)
	case p.ID != identity.ID{}:
		return p.ID.String()
	}
	return "unknown"
}

// Origin says where the call came from: an address, or "socket pid:N".
func Origin(ctx context.Context) string {
	if p, _ := PeerOf(ctx); p.Local != nil {
		return fmt.Sprintf("socket pid:%d", p.Local.PID)
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return "unknown"
}

func peerOf(c any) (Peer, bool) {
	secure := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	switch c := c.(type) {
	case *port.Conn:
		id, _ := c.Peer()
		return Peer{CommonAuthInfo: secure, Protocol: c.Protocol(), ID: id}, true
	case *port.LocalConn:
		return Peer{CommonAuthInfo: secure, Local: &Local{UID: c.UID, PID: c.PID}}, true
	}
	return Peer{}, false
}
