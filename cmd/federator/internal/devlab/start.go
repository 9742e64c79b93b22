package devlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// readyWithin bounds how long the whole federation may take to come up.
const readyWithin = 90 * time.Second

// Start brings the federation up: the first replica by init, every other by a
// token of a member and join, each then run by agent. It returns when every
// replica answers for every region, with dev.json written. What an earlier run
// left in the directory is taken up where it ended.
func (l *Lab) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("the federation was not ready within %v", readyWithin))
	defer cancel()
	if err := os.Remove(l.manifest()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l.progress("demo endpoints")
	for _, s := range sites() {
		if err := l.prepare(s); err != nil {
			return err
		}
	}
	if err := l.resume(); err != nil {
		return err
	}
	first := l.Replicas[0]
	if err := l.found(ctx, first); err != nil {
		return l.explain(ctx, err)
	}
	l.progress("the others join")
	group, joining := errgroup.WithContext(ctx)
	for _, s := range sites() {
		group.Go(func() error { return l.fill(joining, first, l.in(s.region)) })
	}
	if err := group.Wait(); err != nil {
		return l.explain(ctx, err)
	}
	l.progress("waiting until every replica answers for every region")
	if err := l.settled(ctx); err != nil {
		return l.explain(ctx, err)
	}
	if err := l.writeManifest(); err != nil {
		return err
	}
	l.progress("ready")
	return nil
}

// prepare writes a region's services file and starts its endpoints.
func (l *Lab) prepare(s site) error {
	if err := os.MkdirAll(filepath.Join(l.dir, s.region), 0o700); err != nil {
		return err
	}
	path := l.servicesFile(s)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, []byte(l.services(s)), 0o600); err != nil {
			return err
		}
	}
	return l.startEndpoints(s.region)
}

func (l *Lab) servicesFile(s site) string { return filepath.Join(l.dir, s.region, "services.yaml") }

func (l *Lab) startEndpoints(region string) error {
	args := []string{"dev-endpoints"}
	for _, e := range l.at(region, "") {
		args = append(args, fmt.Sprintf("%s@%s/%s=%s", e.Service, e.Region, e.Zone, e.Address))
	}
	return l.launch(region, filepath.Join(l.dir, region, "endpoints.log"), false, args...)
}

// resume starts the agents of an earlier run. All are started before any is
// waited for, because a region needs several of them to be ready.
func (l *Lab) resume() error {
	for _, r := range l.Replicas {
		if !joined(r) {
			continue
		}
		if err := l.startAgent(r, true); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) found(ctx context.Context, r *Replica) error {
	if joined(r) {
		return nil
	}
	l.progress("%s founds the trust domain %s and the region %s", r.Name, l.TrustDomain, r.Region)
	args := append([]string{"init", "--trust-domain", l.TrustDomain, "--recovery-key-file", filepath.Join(l.dir, "recovery.key")}, placing(r)...)
	if _, err := l.Federator(ctx, args...); err != nil {
		return err
	}
	return l.startAgent(r, true)
}

// fill brings a region's replicas in, one after the other: the first by a token
// of the founder, the others by one of their own region.
func (l *Lab) fill(ctx context.Context, founder *Replica, replicas []*Replica) error {
	issuer := founder
	for _, r := range replicas {
		if !joined(r) {
			if err := l.join(ctx, issuer, r); err != nil {
				return err
			}
		}
		if issuer.Region != r.Region {
			issuer = r
		}
	}
	return nil
}

func (l *Lab) join(ctx context.Context, issuer, r *Replica) error {
	if err := l.ready(ctx, issuer); err != nil {
		return err
	}
	token, err := l.run(ctx, "TOKEN=$(federator token create --socket "+issuer.Socket+")", "token", "create", "--socket", issuer.Socket)
	if err != nil {
		return err
	}
	place := placing(r)
	args := append([]string{"join", strings.TrimSpace(string(token))}, place...)
	if _, err := l.run(ctx, "federator join $TOKEN "+strings.Join(place, " "), args...); err != nil {
		return err
	}
	return l.startAgent(r, true)
}

// joined reports whether the replica's directory holds a replica already.
func joined(r *Replica) bool {
	_, err := os.Stat(filepath.Join(r.dir, "replica.json"))
	return err == nil
}

// placing are the flags that init and join share.
func placing(r *Replica) []string {
	return []string{
		"--region", r.Region, "--cluster", r.site.cluster, "--zone", r.zone, "--name", r.Name, "--data-dir", r.dir,
		"--peer-address", r.RPC, "--gossip-address", r.Gossip, "--dns-address", r.DNS,
	}
}

func (l *Lab) startAgent(r *Replica, show bool) error {
	return l.launch(r.Name, filepath.Join(l.dir, r.Region, r.Name+".log"), show, "agent", "--data-dir", r.dir,
		"--services", l.servicesFile(r.site), "--dns", r.DNS, "--http", r.HTTP)
}

// ready waits until a replica says that it is.
func (l *Lab) ready(ctx context.Context, r *Replica) error {
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	return l.await(ctx, r.Name+" to be ready", func() error {
		if !l.running(r.Name) {
			return errEnded
		}
		answer, err := client.Get("http://" + r.HTTP + "/readyz")
		if err != nil {
			return err
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", answer.Status)
		}
		return nil
	})
}

var errEnded = errors.New("its process ended")

// settled waits until every replica answers with every endpoint of every region.
func (l *Lab) settled(ctx context.Context) error {
	for _, r := range l.Replicas {
		if err := l.ready(ctx, r); err != nil {
			return err
		}
		for _, s := range sites() {
			name := "checkout.shop.svc." + s.region + ".region." + l.Zone + "."
			want := len(l.nearest(r, s.region))
			err := l.await(ctx, r.Name+" to answer "+name, func() error {
				addresses, err := ask(ctx, r.DNS, name)
				if err == nil && len(addresses) != want {
					err = fmt.Errorf("expected %d addresses, found %d", want, len(addresses))
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// nearest are the endpoints of shop/checkout in a region that a replica prefers
// while all are well: in its own region those of its own zone.
func (l *Lab) nearest(r *Replica, region string) []*Endpoint {
	return slices.DeleteFunc(l.at(region, "shop/checkout"), func(e *Endpoint) bool {
		return r.Region == region && e.Zone != r.zone
	})
}

// await tries until it succeeds, ctx ends, or a process that is waited for ended.
func (l *Lab) await(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil || errors.Is(err, errEnded) {
			return wrap(what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; last: %w", what, context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("waiting for %s: %w", what, err)
}

// explain adds the last words of every process that ended by itself.
func (l *Lab) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return err
	}
	for _, r := range l.Replicas {
		if p := l.process(r.Name); p != nil && !p.running() {
			path := filepath.Join(l.dir, r.Region, r.Name+".log")
			err = fmt.Errorf("%w\n%s ended (%s); the end of its log:\n%s", err, r.Name, ending(p), tail(path, 15))
		}
	}
	return err
}
