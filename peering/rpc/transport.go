package rpc

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// transport lets gRPC use connections that are proven already.
type transport struct{}

// ServerHandshake takes over what package port learned of the peer.
func (transport) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p, ok := peerOf(c)
	if !ok {
		return nil, nil, errors.New("expected a connection of package port")
	}
	return c, p, nil
}

// ClientHandshake does the same at the other end.
func (transport) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if p, ok := peerOf(c); ok {
		return c, p, nil
	}
	secure := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return c, Peer{CommonAuthInfo: secure}, nil
}

func (transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (t transport) Clone() credentials.TransportCredentials { return t }

func (transport) OverrideServerName(string) error { return nil }
