package enroll

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// Bounds of what a joiner says of itself, in bytes.
const (
	maxDiskID   = 64
	maxAddress  = 262 // a host name of 253, a colon, a port, and brackets
	maxBuild    = 128
	maxProtocol = 1 << 16
)

// ReplicaFromWire validates what a replica says of itself. PublicKey and JoinedAt
// are left for the caller to set, from what it knows itself.
func ReplicaFromWire(p *pb.Replica) (catalog.Replica, error) {
	r := catalog.Replica{
		Name: p.GetName(), Region: p.GetRegion(), Cluster: p.GetCluster(), Zone: p.GetZone(), DiskID: p.GetDiskId(),
		PeerAddress: p.GetPeerAddress(), GossipAddress: p.GetGossipAddress(), DNSAddress: p.GetDnsAddress(),
		Recipient: p.GetRecipient(), Build: p.GetBuild(),
		MinProtocol: int(min(p.GetMinProtocol(), maxProtocol+1)), MaxProtocol: int(min(p.GetMaxProtocol(), maxProtocol+1)),
	}
	return r, validateReplica(&r)
}

// ReplicaToWire describes a replica.
func ReplicaToWire(r *catalog.Replica) *pb.Replica {
	return &pb.Replica{
		Name: r.Name, Region: r.Region, Cluster: r.Cluster, Zone: r.Zone, DiskId: r.DiskID,
		PeerAddress: r.PeerAddress, GossipAddress: r.GossipAddress, DnsAddress: r.DNSAddress,
		Recipient: r.Recipient, PublicKey: r.PublicKey, Build: r.Build,
		MinProtocol: uint32(max(r.MinProtocol, 0)), MaxProtocol: uint32(max(r.MaxProtocol, 0)),
	}
}

// validateReplica reports everything that is wrong at once.
func validateReplica(r *catalog.Replica) error {
	errs := []error{
		catalog.ValidateLabel("name", r.Name),
		catalog.ValidateLabel("region", r.Region),
		catalog.ValidateCluster(r.Cluster),
		validateAddress("peer address", r.PeerAddress),
		validateAddress("gossip address", r.GossipAddress),
		identity.ValidateRecipient(r.Recipient),
	}
	if r.Zone != "" {
		errs = append(errs, catalog.ValidateLabel("zone", r.Zone))
	}
	if r.DNSAddress != "" {
		errs = append(errs, validateAddress("DNS address", r.DNSAddress))
	}
	if len(r.DiskID) > maxDiskID || catalog.ValidateLabel("disk id", r.DiskID) != nil {
		errs = append(errs, errors.New("disk id: expected a DNS label"))
	}
	if len(r.Build) > maxBuild || !printable(r.Build) {
		errs = append(errs, fmt.Errorf("build: expected at most %d printable characters", maxBuild))
	}
	if r.MinProtocol < 1 || r.MaxProtocol < r.MinProtocol || r.MaxProtocol > maxProtocol {
		errs = append(errs, fmt.Errorf("protocol range %d to %d: expected 1 or more, rising", r.MinProtocol, r.MaxProtocol))
	}
	return errors.Join(errs...)
}

func validateAddress(what, s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > maxAddress || !printable(s) {
		return fmt.Errorf("%s %.80q: expected HOST:PORT as others reach it", what, s)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%s %s: others cannot reach the unspecified address; name one with --advertise", what, s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s %.80q: expected a port of 1 to 65535", what, s)
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// parseRequests checks the certificate requests of a joiner against what it says
// of itself.
func parseRequests(trustDomain string, req *pb.EnrollRequest, r *catalog.Replica) (*identity.Request, error) {
	csr, err := parseCSR(trustDomain, req.GetCsr(), r.Region, r.Name)
	if err != nil {
		return nil, err
	}
	if len(req.GetIntermediateCsr()) == 0 {
		return csr, nil
	}
	ca, err := identity.ParseRequest(req.GetIntermediateCsr())
	if err != nil {
		return nil, fmt.Errorf("request for the region's CA: %w", err)
	}
	if bytes.Equal(ca.SPKI, csr.SPKI) {
		return nil, errors.New("request for the region's CA: expected a key of its own, found the replica's")
	}
	return csr, nil
}

func parseCSR(trustDomain string, der []byte, region, name string) (*identity.Request, error) {
	csr, err := identity.ParseRequest(der)
	if err != nil {
		return nil, err
	}
	if want := identity.ReplicaID(trustDomain, region, name); csr.ID != want {
		return nil, fmt.Errorf("certificate request: expected the identity %s, found %s", want, csr.ID)
	}
	return csr, nil
}
