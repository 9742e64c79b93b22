package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/kube/attest"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// strangers is the enroll.Backend of this replica: admissions for replicas, and
// certificates for the pods of its cluster.
type strangers struct {
	admissions
	pods *attest.Reviewer // nil without Kubernetes
	// svids counts the requests of pods by what came of them.
	svids *prometheus.CounterVec
}

func (r *Replica) openStrangers() (strangers, error) {
	s := strangers{admissions: admissions{r}, svids: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "federator_kube_svids_total", Help: "Requests of pods for the certificate of their service account.",
	}, []string{"result"})}
	if r.kube == nil {
		return s, nil
	}
	s.pods = attest.New(r.kube.cluster.Core, r.card.Replica.Cluster, r.card.TrustDomain)
	for _, result := range []string{svidIssued, svidRefused, svidUnanswered} {
		s.svids.WithLabelValues(result)
	}
	return s, r.metrics.Register(s.svids)
}

// attesting is what the operator is told of reviews; nil without Kubernetes.
func (s strangers) attesting() func() (time.Time, error) {
	if s.pods == nil {
		return nil
	}
	return s.pods.Fault
}

// What comes of a pod's request.
const (
	svidIssued     = "issued"
	svidRefused    = "refused"
	svidUnanswered = "unanswered"
)

// IssueSVID attests a pod of the own cluster and has its certificate signed. The
// token goes to the API server of the cluster and nowhere else.
func (s strangers) IssueSVID(ctx context.Context, a enroll.SVIDAttempt) (*pb.IssueSVIDResponse, error) {
	if s.pods == nil {
		return nil, enroll.ErrNoCluster
	}
	pod, chain, err := s.issue(ctx, a)
	switch {
	case err == nil:
		s.svids.WithLabelValues(svidIssued).Inc()
		s.logIssued(pod, chain, a.Origin)
		return &pb.IssueSVIDResponse{SvidChain: chain, TrustList: s.r.verifier.Signed()}, nil
	case errors.Is(err, enroll.ErrNotAttested), errors.Is(err, enroll.ErrInvalid):
		s.svids.WithLabelValues(svidRefused).Inc()
	default:
		s.svids.WithLabelValues(svidUnanswered).Inc()
	}
	return nil, err
}

func (s strangers) issue(ctx context.Context, a enroll.SVIDAttempt) (attest.Pod, [][]byte, error) {
	ca, voter := s.r.vault.signer()
	if !voter {
		// Its word would not count, and so it need not see the token.
		if voters := s.r.votersIn(s.r.card.Replica.Cluster); len(voters) > 0 {
			return attest.Pod{}, nil, fmt.Errorf("%w: this replica does not hold the certificate authority of region %s; in its cluster %s", enroll.ErrUnavailable, s.r.card.Replica.Region, do(voters))
		}
	}
	pod, err := s.pods.Review(ctx, a.Token)
	if err != nil {
		return pod, nil, attestError(err)
	}
	id := identity.WorkloadID(s.r.card.TrustDomain, pod.Namespace, pod.ServiceAccount)
	if err := a.Request.CheckWorkload(id); err != nil {
		return pod, nil, fmt.Errorf("%w: %w", enroll.ErrInvalid, err)
	}
	if voter {
		chain, err := s.r.signWorkload(ca, id, a.Request)
		return pod, chain, err
	}
	chain, err := ask(ctx, s.r.peers, s.r.siblings(), 5*time.Second, func(ctx context.Context, c *grpc.ClientConn) ([][]byte, error) {
		answer, err := pb.NewSiblingsClient(c).SignWorkload(ctx, &pb.SignWorkloadRequest{
			Csr: a.CSR, Namespace: pod.Namespace, ServiceAccount: pod.ServiceAccount, Pod: pod.Name, PodUid: pod.UID,
		})
		return answer.GetSvidChain(), err
	})
	if err != nil {
		return pod, nil, fmt.Errorf("%w: no voter of region %s signed: %w", enroll.ErrUnavailable, s.r.card.Replica.Region, err)
	}
	return pod, chain, nil
}

// attestError puts the decision about a token into the words of enrolment.
func attestError(err error) error {
	if errors.Is(err, attest.ErrRefused) {
		return fmt.Errorf("%w: %w", enroll.ErrNotAttested, err)
	}
	return fmt.Errorf("%w: %w", enroll.ErrUnavailable, err)
}

// logIssued is the record of who got which identity.
func (s strangers) logIssued(pod attest.Pod, chain [][]byte, origin string) {
	leaf, err := identity.ParseCertificate(chain[0])
	if err != nil {
		return // the pod verifies, too, and says so
	}
	s.r.log.Info("a pod got its certificate", "id", leaf.URIs[0].String(), "namespace", pod.Namespace, "serviceAccount", pod.ServiceAccount,
		"pod", pod.Name, "uid", pod.UID, "node", pod.Node, "credential", pod.Credential,
		"serial", identity.Serial(leaf), "until", leaf.NotAfter.Format(time.RFC3339), "peer", origin)
}

// signWorkload signs with the region's authority, for as long as this replica's
// configuration says.
func (r *Replica) signWorkload(ca *identity.Intermediate, id identity.ID, req *identity.Request) ([][]byte, error) {
	chain, err := ca.SignWorkload(identity.WorkloadRequest{
		Namespace: id.Namespace, ServiceAccount: id.Name, PublicKey: req.PublicKey, TTL: time.Duration(r.cfg.Kubernetes.SVIDLifetime),
	}, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", enroll.ErrUnavailable, err)
	}
	return chain, nil
}

// SignWorkload signs on the word of a sibling that attested a pod. Its word counts
// only where it has to: in a cluster with a voter, pods get their certificates from
// that one, which has seen the API server's answer itself.
func (s *siblingsServer) SignWorkload(ctx context.Context, req *pb.SignWorkloadRequest) (*pb.SignResponse, error) {
	caller, _ := rpc.PeerID(ctx)
	var record *catalog.Replica
	s.r.node.Read(func(st *state.State) { record = st.Replica(caller.Name) })
	if record == nil {
		return nil, s.r.notRegistered(caller.Name)
	}
	if voters := s.r.votersIn(record.Cluster); len(voters) > 0 {
		return nil, wireError(fmt.Errorf("%w: the word of replica %s for its pods does not count: in its cluster %s", enroll.ErrNotAttested, caller.Name, do(voters)))
	}
	ca, ok := s.r.vault.signer()
	if !ok {
		return nil, wireError(fmt.Errorf("%w: this replica does not hold the region's certificate authority; ask another", enroll.ErrUnavailable))
	}
	parsed, err := identity.ParseRequest(req.GetCsr())
	id := identity.WorkloadID(s.r.card.TrustDomain, req.GetNamespace(), req.GetServiceAccount())
	if err == nil {
		err = parsed.CheckWorkload(id)
	}
	if err != nil {
		return nil, wireError(fmt.Errorf("%w: %w", enroll.ErrInvalid, err))
	}
	chain, err := s.r.signWorkload(ca, id, parsed)
	if err != nil {
		return nil, wireError(err)
	}
	s.r.log.Info("signed the certificate of a pod on the word of a sibling", "id", id.String(), "sibling", caller.Name, "cluster", record.Cluster,
		"pod", fmt.Sprintf("%.253q", req.GetPod()), "uid", fmt.Sprintf("%.64q", req.GetPodUid()))
	return &pb.SignResponse{SvidChain: chain, TrustList: s.r.verifier.Signed()}, nil
}

// votersIn names the voters of the region in a cluster.
func (r *Replica) votersIn(cluster string) []string {
	return votersOf(r.node.Servers(), r.agreedReplicas(), cluster)
}

func votersOf(servers []state.Server, replicas []*catalog.Replica, cluster string) []string {
	var out []string
	for _, replica := range replicas {
		if replica.Cluster == cluster && slices.ContainsFunc(servers, func(s state.Server) bool { return s.Voter && s.ID == replica.RaftID() }) {
			out = append(out, replica.Name)
		}
	}
	slices.Sort(out)
	return out
}

// do says of names that they hold the authority.
func do(names []string) string {
	if len(names) == 1 {
		return names[0] + " does"
	}
	return strings.Join(names, ", ") + " do"
}
