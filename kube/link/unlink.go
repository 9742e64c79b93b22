package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/peering/pb"
)

// Unlink takes the region of a cluster out of its federation.
type Unlink struct {
	// Cluster is the one that leaves; nil if it is gone, and Region names its region.
	Cluster *laptop.Cluster
	Region  string
	// From is a cluster that remains.
	From *laptop.Cluster
	// Uninstall deletes what was installed, its disks included.
	Uninstall bool
	// Force takes it out though its replicas answer, and without a drain.
	Force bool
	// Drain is how long clients have to go elsewhere. 0 means 30 s.
	Drain time.Duration
	// Within bounds the whole. 0 means 10 minutes.
	Within   time.Duration
	Progress func(string)
	Now      func() time.Time
}

// Plan looks at both clusters and says what is in the way, and what Run would do, in
// sentences: none if nothing is left to do. It changes nothing.
func (u *Unlink) Plan(ctx context.Context) (problems []*pb.Problem, steps []string, err error) {
	l, err := u.look(ctx, true)
	if err != nil {
		return nil, nil, err
	}
	return l.hindrances(), l.steps(), nil
}

// look finds what there is to know.
func (u *Unlink) look(ctx context.Context, whole bool) (*leaving, error) {
	see := func(c *laptop.Cluster, p Purpose) Facts {
		if whole {
			return Look(ctx, c, p)
		}
		return Again(ctx, c)
	}
	from := see(u.From, ToAsk)
	l := &leaving{region: u.Region, from: &from, drain: cmp.Or(u.Drain, 30*time.Second), uninstall: u.Uninstall, force: u.Force, now: from.now(u.Now())}
	if u.Cluster != nil {
		purpose := ToUnlink
		if u.Uninstall {
			purpose = ToUninstall
		}
		c := see(u.Cluster, purpose)
		l.cluster = &c
		l.region = cmp.Or(c.Region, u.Region)
		if u.Region != "" && c.Region != "" && c.Region != u.Region {
			return nil, fmt.Errorf("context %s is region %s, and --region says %s: leave one of them out", c.Context, c.Region, u.Region)
		}
		if u.Uninstall && c.Unreachable == "" {
			l.left = remains(ctx, u.Cluster, &c)
		}
	}
	if l.region == "" {
		if l.cluster != nil && l.cluster.Unreachable == "" {
			return l, nil // nothing is installed: nothing is linked
		}
		return nil, errors.New("it cannot be seen which region the cluster is: say --region, and leave --context out if the cluster is gone")
	}
	return l, u.inquire(ctx, l, whole)
}

// inquire asks a remaining replica what hangs on the region.
func (u *Unlink) inquire(ctx context.Context, l *leaving, whole bool) error {
	if l.from.Agent == nil || l.from.region(l.region) == nil || !whole {
		return nil
	}
	return u.asking(ctx, func(client pb.OperatorClient) error {
		services, err := client.Services(ctx, &pb.ServicesRequest{})
		if err != nil {
			return err
		}
		l.only = servedOnlyIn(l.region, services.GetServices())
		members, err := client.Members(ctx, &pb.MembersRequest{Region: l.region})
		for _, m := range members.GetMembers() {
			if r := m.GetReplica(); l.cluster != nil && l.cluster.Cluster != "" && r.GetCluster() != l.cluster.Cluster {
				l.others = append(l.others, r.GetName()+" of cluster "+r.GetCluster())
			}
		}
		return err
	})
}

// asking asks a replica of the cluster that remains.
func (u *Unlink) asking(ctx context.Context, use func(pb.OperatorClient) error) error {
	agent, err := u.From.Agent(ctx)
	if err != nil {
		return err
	}
	return errors.Join(use(pb.NewOperatorClient(agent)), agent.Close())
}

// Run takes the region out. What is done already is not done again.
func (u *Unlink) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(u.Within, 10*time.Minute))
	defer cancel()
	return poll(ctx, func(ctx context.Context) (string, error) {
		l, err := u.look(ctx, false)
		if err != nil {
			return "", err
		}
		u.Region = cmp.Or(u.Region, l.region) // it is not to be seen any more once it is uninstalled
		what, why := l.next()
		switch what {
		case partDone:
			return "", nil
		case partWait:
			return why, nil
		}
		return again, u.do(ctx, what, l)
	}, u.Progress)
}

// do takes a step.
func (u *Unlink) do(ctx context.Context, what parting, l *leaving) error {
	switch what {
	case partDrain:
		u.Progress("evacuating region " + l.region)
		return u.asking(ctx, func(client pb.OperatorClient) error {
			e, err := client.Evacuate(ctx, &pb.EvacuateRequest{Region: l.region, Duration: durationpb.New(l.drain + time.Hour), Reason: "federator unlink"})
			if e.GetIgnored() != "" {
				u.Progress("some services keep it until it is gone: " + e.GetIgnored())
			}
			return err
		})
	case partStop:
		u.Progress("stopping the pods of " + u.Cluster.Context)
		_, err := u.Cluster.Core.AppsV1().StatefulSets(u.Cluster.Namespace).Patch(ctx, "federator", types.MergePatchType,
			[]byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{FieldManager: fieldManager})
		return err
	case partRemove:
		u.Progress("removing region " + l.region)
		return u.asking(ctx, func(client pb.OperatorClient) error {
			_, err := client.RemoveRegion(ctx, &pb.RemoveRegionRequest{Region: l.region, Epoch: l.from.region(l.region).GetEpoch(), Force: u.Force})
			if reasonOf(err) == "STILL_ANSWERS" { // to the authority region, which hears of its end a little later
				return nil
			}
			return err
		})
	case partSettle:
		return u.asking(ctx, func(client pb.OperatorClient) error {
			_, err := client.StopEvacuation(ctx, &pb.StopEvacuationRequest{Region: l.region})
			return err
		})
	case partUninstall:
		return u.uninstall(ctx)
	}
	return nil
}

// reasonOf is the reason that a replica gives with a refusal.
func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// remains are what of an installation is in a cluster, in words.
func remains(ctx context.Context, c *laptop.Cluster, f *Facts) []string {
	var out []string
	if f.HasNamespace && !f.Ending {
		out = append(out, "the namespace "+c.Namespace+" with its disks")
	}
	if _, err := c.Core.RbacV1().ClusterRoles().Get(ctx, "federator", metav1.GetOptions{}); err == nil {
		out = append(out, "the ClusterRole federator and its binding")
	}
	list, err := c.MCS.MulticlusterV1beta1().ServiceImports("").List(ctx, metav1.ListOptions{LabelSelector: imports.LabelImport})
	if err == nil && len(list.Items) > 0 {
		out = append(out, fmt.Sprintf("%d ServiceImports of federator with their Services and EndpointSlices", len(list.Items)))
	}
	if list, err := claims(ctx, c); err == nil && len(list) > 0 {
		out = append(out, fmt.Sprintf("the status of %d ServiceExports and ResolutionPolicies", len(list)))
	}
	dns := lookDNS(ctx, c)
	if change, err := PlanNoDNS(dns); err == nil && !change.None() {
		out = append(out, "the zone in the cluster's DNS")
	}
	return out
}

// uninstall deletes what was installed: first what leads clients to it, then the
// imports, then itself. The CRDs stay, because others may use them.
func (u *Unlink) uninstall(ctx context.Context) error {
	c := u.Cluster
	switch change, err := PlanNoDNS(lookDNS(ctx, c)); {
	case err != nil:
		u.Progress("the DNS of " + c.Context + " is left as it is: " + err.Error())
	case !change.None():
		u.Progress("taking the zone out of the DNS of " + c.Context)
		if err := ChangeDNS(ctx, c, change); err != nil {
			return err
		}
	}
	list, err := c.MCS.MulticlusterV1beta1().ServiceImports("").List(ctx, metav1.ListOptions{LabelSelector: imports.LabelImport})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("imports in %s: %w", c.Context, err)
	}
	for i := range list.Items {
		o := &list.Items[i]
		err := c.MCS.MulticlusterV1beta1().ServiceImports(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &o.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("ServiceImport %s/%s in %s: %w", o.Namespace, o.Name, c.Context, err)
		}
	}
	said, err := claims(ctx, c)
	if err != nil {
		return err
	}
	for _, x := range said {
		if err := x.withdraw(ctx, c); err != nil {
			return err
		}
	}
	u.Progress("deleting the namespace " + c.Namespace + " of " + c.Context)
	return errors.Join(
		gone("namespace "+c.Namespace, c.Core.CoreV1().Namespaces().Delete(ctx, c.Namespace, metav1.DeleteOptions{})),
		gone("ClusterRoleBinding federator", c.Core.RbacV1().ClusterRoleBindings().Delete(ctx, "federator", metav1.DeleteOptions{})),
		gone("ClusterRole federator", c.Core.RbacV1().ClusterRoles().Delete(ctx, "federator", metav1.DeleteOptions{})),
	)
}

// gone says what could not be deleted; nothing if it is not there, or going.
func gone(what string, err error) error {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("delete %s: %w", what, err)
}
