package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/federator/federator/peering/pb"
)

func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// Members are the names of the replicas of a region as federator members lists
// them, in order; "region/name" of all if region is "".
func (r *Replica) Members(region string) ([]string, error) {
	var m pb.MembersResponse
	if err := r.Ask(&m, "members", "--region", region); err != nil {
		return nil, err
	}
	var names []string
	for _, member := range m.GetMembers() {
		if region == "" {
			names = append(names, member.GetReplica().GetRegion()+"/"+member.GetReplica().GetName())
		} else {
			names = append(names, member.GetReplica().GetName())
		}
	}
	return names, nil
}

// Problems are the codes of what federator check finds, with their full text.
func (r *Replica) Problems() (map[string]*pb.Problem, error) {
	result := r.CLI("check", "-o", "json")
	var found pb.CheckResponse
	if result.Code != 0 && result.Code != 3 {
		return nil, errors.New(strings.TrimSpace(result.Err))
	}
	if err := unmarshal(result.Out, &found); err != nil {
		return nil, err
	}
	problems := map[string]*pb.Problem{}
	for _, p := range found.GetProblems() {
		problems[p.GetCode()] = p
	}
	return problems, nil
}

// ServiceName is the DNS name of a service "namespace/name".
func ServiceName(service string) string {
	namespace, name, _ := strings.Cut(service, "/")
	return name + "." + namespace + ".svc." + Zone + "."
}

// PinnedName is the DNS name of a service in one region only.
func PinnedName(service, region string) string {
	namespace, name, _ := strings.Cut(service, "/")
	return name + "." + namespace + ".svc." + region + ".region." + Zone + "."
}

// Lookup asks the replica's DNS for the addresses of a name, which are sorted. An
// answer other than NOERROR is an error.
func (r *Replica) Lookup(name string) ([]string, error) { return LookupFrom(r.machine, r.DNS, name) }

// LookupAt asks a DNS server.
func LookupAt(server, name string) ([]string, error) {
	return LookupFrom(&net.Dialer{}, server, name)
}

// LookupFrom asks a DNS server from somewhere.
func LookupFrom(from Dialer, server, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := from.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := dns.Client{Timeout: 2 * time.Second}
	question := new(dns.Msg).SetQuestion(name, dns.TypeA)
	question.SetEdns0(1232, false)
	answer, _, err := client.ExchangeWithConn(question, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("%s answers %s", name, dns.RcodeToString[answer.Rcode])
	}
	var addresses []string
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok {
			addresses = append(addresses, a.A.String())
		}
	}
	slices.SortFunc(addresses, func(a, b string) int { return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b)) })
	return addresses, nil
}

// Answers checks that the replica answers a name with exactly these addresses.
func (r *Replica) Answers(name string, want ...string) error {
	found, err := r.Lookup(name)
	if err == nil && !slices.Equal(found, want) {
		err = fmt.Errorf("%s: expected %v for %s, found %v", r, want, name, found)
	}
	return err
}

// AnswersAll waits until every one of the replicas answers a service's pinned
// name with the endpoints of the region.
func (f *Fleet) AnswersAll(within time.Duration, replicas []*Replica, service, region string, endpoints ...*Endpoint) {
	f.Helper()
	want := Addresses(endpoints)
	for _, r := range replicas {
		f.Until(within, fmt.Sprintf("%s to answer %s in %s with %v", r, service, region, want), func() error {
			return r.Answers(PinnedName(service, region), want...)
		})
	}
}

// Voters waits until every replica of the region is a voter of its Raft, which
// has a leader, and returns the leader.
func (f *Fleet) Voters(region string) *Replica {
	f.Helper()
	var leader *Replica
	replicas := f.Replicas(region)
	f.Until(90*time.Second, fmt.Sprintf("%d voters of %s", len(replicas), region), func() error {
		s, err := replicas[0].Status()
		if err != nil {
			return err
		}
		for _, r := range replicas {
			if r.Name == s.GetRaft().GetLeader() {
				leader = r
			}
		}
		if n := len(s.GetRaft().GetVoters()); n != len(replicas) || leader == nil {
			return fmt.Errorf("found the voters %v, leader %q", s.GetRaft().GetVoters(), s.GetRaft().GetLeader())
		}
		return nil
	})
	return leader
}
