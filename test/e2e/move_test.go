package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

// seesAt checks that a replica knows where another one is.
func seesAt(r, other *fleet.Replica) error {
	var m pb.MembersResponse
	if err := r.Ask(&m, "members", "--region", other.Region); err != nil {
		return err
	}
	for _, member := range m.GetMembers() {
		found := member.GetReplica()
		if found.GetName() != other.Name {
			continue
		}
		if found.GetPeerAddress() != other.Peer || found.GetGossipAddress() != other.Gossip || found.GetDnsAddress() != other.DNS {
			return fmt.Errorf("%s: expected %s at %s, found it at %s, %s and %s", r, other, other.Peer, found.GetPeerAddress(), found.GetGossipAddress(), found.GetDnsAddress())
		}
		return nil
	}
	return fmt.Errorf("%s does not list %s", r, other)
}

// certifiedAt checks that the replica's certificate names its address.
func certifiedAt(r *fleet.Replica) error {
	text, err := os.ReadFile(filepath.Join(r.Dir, "identity", "svid.pem"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(r.Peer)
	if err != nil {
		return err
	}
	return leaf.VerifyHostname(host)
}

// settled waits until all replicas know where the moved ones are, everything works
// again, and a change in west arrives in all of them.
func settled(f *fleet.Fleet, moved []*fleet.Replica, endpoints []*fleet.Endpoint) {
	f.Helper()
	for _, m := range moved {
		f.Until(20*time.Second, m.String()+" to have a certificate for its address", func() error { return certifiedAt(m) })
		for _, r := range f.Replicas("") {
			f.Until(45*time.Second, r.String()+" to know where "+m.String()+" is", func() error { return seesAt(r, m) })
		}
	}
	f.Voters("west")
	for _, r := range f.Replicas("") {
		f.Until(45*time.Second, r.String()+" to find nothing wrong with its links", func() error {
			s, err := r.Status()
			for _, region := range s.GetRegions() {
				if f := region.GetFreshness(); err == nil && f != "fresh" && f != "own" {
					err = fmt.Errorf("%s is %s and %s", region.GetName(), region.GetReach(), region.GetFreshness())
				}
			}
			return err
		})
	}
	endpoints[0].Fail()
	f.AnswersAll(20*time.Second, f.Replicas(""), checkout, "west", endpoints[1:]...)
	endpoints[0].Recover()
	f.AnswersAll(20*time.Second, f.Replicas(""), checkout, "west", endpoints...)
}

func TestReplicasThatComeBackAtOtherAddressesOneByOneAreFoundThere(t *testing.T) {
	f := newFleet(t)
	endpoints := f.Endpoints(2)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(3, "west")
	west := f.Replicas("west")
	east := f.Join(west[0], "east", "east-0")
	f.Voters("west")
	f.AnswersAll(20*time.Second, f.Replicas(""), checkout, "west", endpoints...)
	stop := f.Watch(fleet.ServiceName(checkout), east)
	for _, r := range west {
		r.Stop()
		r.Start(r.Move()...)
		r.Ready()
		settled(f, []*fleet.Replica{r}, endpoints)
	}
	t.Logf("%d lookups meanwhile", stop())
	east.Stop() // alone in its region, so that nobody there can tell west
	east.Start(east.Move()...)
	east.Ready()
	settled(f, []*fleet.Replica{east}, endpoints)
	west[1].Stop()
	west[1].Start() // without the flags it is where it was told last
	west[1].Ready()
	settled(f, west, endpoints)
}

func TestARegionWhoseReplicasAllComeBackElsewhereFindsItselfByName(t *testing.T) {
	f := newFleet(t)
	if os.Geteuid() != 0 {
		t.Skip("gives agents an /etc/hosts of their own, which takes root")
	}
	f.Hosts = f.Write("hosts", "127.0.0.1 localhost\n")
	names := func() {
		var text strings.Builder
		text.WriteString("127.0.0.1 localhost\n")
		for _, r := range f.Replicas("west") {
			host, _, _ := net.SplitHostPort(r.Peer)
			fmt.Fprintf(&text, "%s %s.federator-peers.test\n", host, r.Name)
		}
		if err := os.WriteFile(f.Hosts, []byte(text.String()), 0o600); err != nil { // in place: it is mounted
			t.Fatal(err)
		}
	}
	f.Config = f.Write("agent.yaml", "advertise:\n  siblings: NAME.federator-peers.test:7443\n")
	endpoints := f.Endpoints(2)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(3, "west")
	west := f.Replicas("west")
	f.Join(west[0], "east", "east-0")
	names()
	f.Voters("west")
	f.AnswersAll(20*time.Second, f.Replicas(""), checkout, "west", endpoints...)
	for i, r := range west {
		if i%2 == 0 {
			r.Kill()
		} else {
			r.Stop()
		}
	}
	for _, r := range west {
		r.Start(r.Move()...)
	}
	names() // late, as DNS is
	for _, r := range west {
		r.Ready()
	}
	settled(f, west, endpoints)
}
