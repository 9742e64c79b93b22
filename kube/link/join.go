package link

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/pod"
	"github.com/federator/federator/peering/pb"
)

// Join joins a cluster to the federation of another.
type Join struct {
	Cluster, To *laptop.Cluster
	Wanted      Wanted
	// Manifests are what is applied where it is to be installed; see [Install].
	Manifests, Definitions []byte
	// Within bounds the wait until they are linked. 0 means 10 minutes.
	Within time.Duration
	// Progress is told what is done and what is waited for, a line at a time.
	Progress func(string)
	Now      func() time.Time
}

// tokenLife is how long a token is good for: a node may have to get the image first.
const tokenLife = time.Hour

// Result is what a join has come to.
type Result struct {
	TrustDomain string `json:"trustDomain"`
	Context     string `json:"context"`
	Region      string `json:"region"`
	To          string `json:"to"`
	ToRegion    string `json:"toRegion"`
	// Already: they were linked before.
	Already bool `json:"already"`
	// Regions are all that the joining cluster now knows.
	Regions []string `json:"regions"`
}

// Plan looks at both clusters and says what is in the way, and, if that is nothing
// severe, what Run would do, in sentences. It changes nothing.
func (j *Join) Plan(ctx context.Context) (problems []*pb.Problem, steps []string) {
	purposes := []Purpose{ToJoin}
	if j.Wanted.Install && !Installed(ctx, j.Cluster).Installed {
		purposes = append(purposes, ToInstall)
	}
	to := Look(ctx, j.To, ToAsk)
	joining := Look(ctx, j.Cluster, purposes...)
	if problems = Preflight(&joining, &to, j.Wanted); len(Severe(problems)) > 0 {
		return problems, nil
	}
	is, and := j.Wanted.target(&joining), " of "+to.trustDomain()
	if s, _ := next(&joining, &to, j.Wanted, to.now(j.Now())); s == stepDone {
		return problems, nil
	}
	if !joining.Installed {
		steps = append(steps, fmt.Sprintf("install federator in %s as region %s, cluster %s (image %s, replicas reached by %s)", j.Cluster.Context, is.Region, is.Cluster, is.Image, is.Expose))
	}
	if joining.Agent == nil {
		steps = append(steps,
			fmt.Sprintf("make a token in %s, good once, for region %s and cluster %s, for %s", j.To.Context, is.Region, is.Cluster, tokenLife),
			fmt.Sprintf("put it in the Secret %s/%s of %s, which pod %s deletes once it has joined", j.Cluster.Namespace, secretName(), j.Cluster.Context, firstPod))
	}
	return problems, append(steps, fmt.Sprintf("wait until region %s and region %s%s have each other's data", is.Region, to.Agent.GetSelf().GetRegion(), and))
}

// Run joins. What is done already is not done again. Call Plan first: it says what is
// in the way; Run waits for it to go.
func (j *Join) Run(ctx context.Context) (Result, error) {
	within := j.Within
	if within == 0 {
		within = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var joining, to Facts
	already := true
	err := poll(ctx, func(ctx context.Context) (string, error) {
		joining, to = Again(ctx, j.Cluster), Again(ctx, j.To)
		what, why := next(&joining, &to, j.Wanted, to.now(j.Now()))
		if what == stepDone {
			return "", nil
		}
		already = false
		if what == stepWait {
			if a, b := joining.trustDomain(), to.trustDomain(); a != "" && b != "" && a != b {
				return "", fmt.Errorf("expected one federation, found two: %s in %s and %s in %s", a, joining.Context, b, to.Context)
			}
			return why, nil
		}
		return again, j.do(ctx, what, &joining, &to)
	}, j.Progress)
	if err != nil {
		return Result{}, err
	}
	r := Result{
		TrustDomain: to.trustDomain(), Context: joining.Context, Region: joining.Agent.GetSelf().GetRegion(),
		To: to.Context, ToRegion: to.Agent.GetSelf().GetRegion(), Already: already,
	}
	for _, region := range joining.Agent.GetRegions() {
		if !region.GetRemoved() {
			r.Regions = append(r.Regions, region.GetName())
		}
	}
	return r, nil
}

// do takes a step.
func (j *Join) do(ctx context.Context, what step, joining, to *Facts) error {
	switch what {
	case stepInstall:
		j.Progress("installing federator in " + j.Cluster.Context)
		return Install(ctx, j.Cluster, j.Definitions, j.Manifests, func(string) {})
	case stepReplace:
		j.Progress("the token in " + j.Cluster.Context + " is good no more, and is taken away")
		return j.withdraw(ctx, joining.Secret)
	case stepInvite:
		return j.invite(ctx, joining, to)
	}
	return nil
}

// withdraw deletes a Secret with a token that is good no more.
func (j *Join) withdraw(ctx context.Context, s *JoinSecret) error {
	uid := types.UID(s.UID)
	err := j.Cluster.Core.CoreV1().Secrets(j.Cluster.Namespace).Delete(ctx, secretName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // it is gone, or another one
		return fmt.Errorf("delete Secret %s in %s: %w", secretName(), j.Cluster.Context, err)
	}
	return nil
}

// invite makes a token in one cluster and puts it in the other. A token for which the
// Secret could not be made is revoked; where it is not known whether it was made, the
// next look, or the next command, sees it.
func (j *Join) invite(ctx context.Context, joining, to *Facts) error {
	agent, err := j.To.Agent(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	client := pb.NewOperatorClient(agent)
	made, err := client.CreateToken(ctx, &pb.CreateTokenRequest{
		Region: joining.Region, Cluster: joining.Cluster, Ttl: durationpb.New(tokenLife),
		Description: "for federator join --context " + strings.Map(plain, j.Cluster.Context),
	})
	if err != nil {
		return fmt.Errorf("make a token in %s: %w", j.To.Context, err)
	}
	_, err = j.Cluster.Core.CoreV1().Secrets(j.Cluster.Namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secretName(), Annotations: map[string]string{
			pod.ExpiresAnnotation: made.GetInfo().GetExpires().AsTime().UTC().Format(time.RFC3339), trustDomainAnnotation: to.trustDomain(), exposeAnnotation: to.Expose,
		}, Labels: map[string]string{managedBy: fieldManager}},
		Data: map[string][]byte{pod.TokenKey: []byte(made.GetToken())},
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if refused(err) {
		revoking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
		defer cancel()
		if _, rerr := client.RevokeToken(revoking, &pb.RevokeTokenRequest{Id: made.GetInfo().GetId()}); rerr != nil {
			j.Progress(fmt.Sprintf("the token %s could not be revoked: %v; it ends by itself in %s", made.GetInfo().GetId(), rerr, tokenLife))
		}
	}
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil // somebody else was quicker: the next look sees it
	case err != nil:
		return fmt.Errorf("context %s: Secret %s: %w", j.Cluster.Context, secretName(), err)
	}
	j.Progress(fmt.Sprintf("made a token in %s (%s) and put it in %s", j.To.Context, made.GetInfo().GetId(), j.Cluster.Context))
	return nil
}

// refused reports whether an API server has refused a write for certain; after any other
// error it may have done it.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500
}

// plain keeps what a description may have.
func plain(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}
