//go:build linux

package kube_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/attest"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/svid"
	"github.com/federator/federator/test/e2e/fleet"
)

const webID = "spiffe://" + fleet.TrustDomain + "/ns/shop/sa/web"

func TestPodsProveThemselvesToTheirOwnCluster(t *testing.T) {
	sites := newSites(t, "us-west", "eu-central")
	west, eu := sites["us-west"], sites["eu-central"]
	trust := west.trust()
	pod := west.pod("web-0")

	t.Run("a pod gets the certificate of its account and of no other", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "svid")
		if said := west.answered(trust, west.ours(pod), out).OK(t).Out; !strings.Contains(said, webID) {
			t.Errorf("it said %q", said)
		}
		id, leaf := verified(t, out)
		if id != webID || time.Until(leaf.NotAfter) > 30*time.Minute || len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 {
			t.Errorf("found %s until %s, %v", id, leaf.NotAfter, leaf.DNSNames)
		}
		text := west.replica.Log(200)
		for _, want := range []string{"a pod got its certificate", webID, "pod=web-0", string(pod.UID), `credential="JTI=`} {
			if !strings.Contains(text, want) {
				t.Errorf("the replica's log does not say %q", want)
			}
		}
		// As often as it was issued: once more if the pod did not wait for the first.
		must(t, fleet.Await(soon, func() error {
			n := strings.Count(west.replica.Log(200), "a pod got its certificate")
			if got := svidsOf(t, west.replica); !strings.Contains(got, fmt.Sprintf(`federator_kube_svids_total{result="issued"} %d`+"\n", n)) {
				return fmt.Errorf("expected %d issued, found %s", n, got)
			}
			return nil
		}))
	})
	t.Run("pods of two regions prove themselves to each other by the bundle", func(t *testing.T) {
		here, there := filepath.Join(t.TempDir(), "west"), filepath.Join(t.TempDir(), "eu")
		west.answered(trust, west.ours(pod), here).OK(t)
		eu.answered(eu.trust(), eu.ours(eu.pod("web-0")), there).OK(t)
		mutual(t, here, there)
	})
	t.Run("a token that proves nothing is refused with what to do", func(t *testing.T) { refusals(t, west, eu, trust) })
	t.Run("the program sends no token that it should not", func(t *testing.T) { unsent(t, west, eu, trust) })
	t.Run("an API server that is away or does not let it is no refusal", func(t *testing.T) { unanswered(t, west, trust) })
	t.Run("a sidecar keeps what is there, and ends when it is told to", func(t *testing.T) { sidecar(t, west, trust) })
	t.Run("no token is in any log", func(t *testing.T) {
		for _, s := range sites {
			text, err := os.ReadFile(s.replica.LogPath())
			must(t, err)
			for _, part := range append(west.audit, eu.audit...) {
				if strings.Contains(string(text), part) {
					t.Errorf("%s logs a token", s.replica)
				}
			}
		}
	})
}

// verified is the identity and the certificate in a directory, as other software
// sees them.
func verified(t *testing.T, dir string) (string, *x509.Certificate) {
	t.Helper()
	own, bundle := loaded(t, dir)
	id, _, err := x509svid.Verify(own.Certificates, bundle)
	must(t, err)
	return id.String(), own.Certificates[0]
}

func loaded(t *testing.T, dir string) (*x509svid.SVID, *x509bundle.Bundle) {
	t.Helper()
	bundle, err := x509bundle.Load(spiffeid.RequireTrustDomainFromString(fleet.TrustDomain), filepath.Join(dir, svid.BundleFile))
	must(t, err)
	own, err := x509svid.Load(filepath.Join(dir, svid.CertificateFile), filepath.Join(dir, svid.KeyFile))
	must(t, err)
	return own, bundle
}

// mutual calls the pod of one directory as that of another, by mutual TLS.
func mutual(t *testing.T, client, server string) {
	t.Helper()
	id, err := spiffeid.FromString(webID)
	must(t, err)
	own, bundle := loaded(t, server)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(own, bundle, tlsconfig.AuthorizeID(id)))
	must(t, err)
	s := &http.Server{ReadHeaderTimeout: soon, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].URIs[0])
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	defer func() { _ = s.Close(); <-served }()
	url := "https://" + listener.Addr().String()
	caller, callerBundle := loaded(t, client)
	transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(caller, callerBundle, tlsconfig.AuthorizeID(id)), DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport, Timeout: soon}).Get(url)
	must(t, err)
	defer answer.Body.Close()
	if b, err := io.ReadAll(answer.Body); err != nil || string(b) != webID {
		t.Errorf("the server saw %s, %v", b, err)
	}
	other := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(caller, callerBundle, tlsconfig.AuthorizeID(spiffeid.RequireFromString("spiffe://"+fleet.TrustDomain+"/ns/bank/sa/web"))), DisableKeepAlives: true}
	if answer, err := (&http.Client{Transport: other, Timeout: soon}).Get(url); err == nil {
		_ = answer.Body.Close()
		t.Error("the account of another namespace was taken for it")
	}
}

// refusals sends tokens past the program's own checks.
func refusals(t *testing.T, west, eu *site, trust map[string]string) {
	ours := attest.Audience(fleet.TrustDomain)
	pod := west.pod("web-1")
	past := map[string]any{"iat": time.Now().Add(-2 * time.Hour).Unix(), "nbf": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(-time.Hour).Unix()}
	for name, tt := range map[string]struct{ token, says string }{
		"another audience":           {west.token(pod, "https://kubernetes.default.svc.cluster.local"), "audience"},
		"no audience of its own":     {west.token(pod), "audience"},
		"another cluster's":          {eu.ours(eu.pod("web-1")), "ask a replica of the pod's own cluster"},
		"bound to no pod":            {west.ours(nil), "bound to no pod"},
		"expired":                    {west.forged(west.ours(pod), west.signingKey(), past), "expired"},
		"signed by another cluster":  {west.forged(west.ours(pod), eu.signingKey(), nil), "ask a replica of the pod's own cluster"},
		"of a pod that is not there": {west.forged(west.ours(pod), west.signingKey(), map[string]any{"kubernetes.io": map[string]any{"namespace": "shop", "pod": map[string]any{"name": "web-9", "uid": "x"}, "serviceaccount": map[string]any{"name": "web", "uid": "x"}}}), "says"},
	} {
		if err := west.decided(trust, tt.token); !errors.Is(err, enroll.ErrNotAttested) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: expected a refusal that says %q, found %v", name, tt.says, err)
		}
	}
	good := west.token(pod, ours, "vault")
	if err := west.decided(trust, good); err != nil {
		t.Errorf("a token for others too is good for a replica: %v", err)
	}
	t.Run("and that of a pod once it is deleted", func(t *testing.T) {
		token := west.ours(pod)
		must(t, west.decided(trust, token))
		west.delete(pod)
		// The API server remembers for some ten seconds that a token was good.
		var err error
		for deadline := time.Now().Add(late); time.Now().Before(deadline); time.Sleep(time.Second) {
			// An API server that does not answer for once is no refusal.
			if err = west.ask(trust, token); errors.Is(err, enroll.ErrNotAttested) {
				break
			}
		}
		if !errors.Is(err, enroll.ErrNotAttested) || !strings.Contains(err.Error(), "invalidated") {
			t.Errorf("expected a refusal, found %v", err)
		}
	})
}

func unsent(t *testing.T, west, eu *site, trust map[string]string) {
	pod := west.pod("web-2")
	out := t.TempDir()
	refused := func(change func(map[string]string)) map[string]string {
		other := maps.Clone(trust)
		change(other)
		return other
	}
	before := svidsOf(t, west.replica) + svidsOf(t, eu.replica)
	west.answered(trust, west.token(pod), out).Fails(t, 1, "not sent to anybody", "audience: "+attest.Audience(fleet.TrustDomain))
	west.answered(trust, west.ours(nil), out).Fails(t, 1, "not sent to anybody", "bound to no pod")
	west.answered(trust, "nothing", out).Fails(t, 1, "three parts")
	west.answered(refused(func(m map[string]string) { m["FEDERATOR_PINS"] = strings.Repeat("ab", 32) }), west.ours(pod), out).Fails(t, 1, "the token was not sent", "pinned")
	west.answered(refused(func(m map[string]string) { m["FEDERATOR_PINS"] = "" }), west.ours(pod), out).Fails(t, 2, "federator svid trust")
	// A pod of us-west that asks where eu-central answers.
	eu.answered(trust, west.ours(pod), out).Fails(t, 1, "the token was not sent", "us-west")
	eu.answered(refused(func(m map[string]string) { m["FEDERATOR_REGION"] = "eu-central" }), west.ours(pod), out).Fails(t, 1, "the token was not sent", "expected a replica of cluster us-west-1")
	if after := svidsOf(t, west.replica) + svidsOf(t, eu.replica); after != before {
		t.Errorf("a token was sent: before\n%safter\n%s", before, after)
	}
	if files, err := os.ReadDir(out); err != nil || len(files) > 0 {
		t.Errorf("something was written: %v, %v", files, err)
	}
}

func unanswered(t *testing.T, west *site, trust map[string]string) {
	pod, out := west.pod("web-3"), t.TempDir()
	token := west.ours(pod)
	roles := west.Clients.Core.RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), "federator", metav1.GetOptions{})
	must(t, err)
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "tokenreviews") })
	_, err = roles.Update(t.Context(), role, metav1.UpdateOptions{})
	must(t, err)
	if err := fleet.Await(late, func() error {
		r := west.fetch(trust, token, out)
		if r.Code == 0 || !strings.Contains(r.Err, "create tokenreviews.authentication.k8s.io") {
			return fmt.Errorf("expected to be told which grant is missing, found %d, %s", r.Code, r.Err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	must(t, fleet.Await(soon, func() error {
		found, err := west.replica.Problems()
		if err == nil && !strings.Contains(found["pods-unattested"].GetFound(), "create tokenreviews.authentication.k8s.io") {
			err = fmt.Errorf("expected check to name the grant, found %v", found["pods-unattested"])
		}
		return err
	}))
	west.kubectl("apply", "-f", "../../deploy/clusters/base/rbac.yaml")
	must(t, west.StopAPIServer())
	must(t, fleet.Await(soon, func() error {
		r := west.fetch(trust, token, out, "--timeout", "10s")
		if r.Code != 1 || !strings.Contains(r.Err, "the API server of cluster us-west-1") || !strings.Contains(r.Err, "try again") {
			return fmt.Errorf("expected to be told which API server is away, found %d, %s", r.Code, r.Err)
		}
		return nil
	}))
	must(t, west.StartAPIServer(t.Context()))
	if err := fleet.Await(late, func() error {
		if r := west.fetch(trust, token, out); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	must(t, fleet.Await(soon, func() error {
		found, err := west.replica.Problems()
		if err == nil && found["pods-unattested"] != nil {
			err = fmt.Errorf("expected check to be content again, found %v", found["pods-unattested"])
		}
		return err
	}))
}

func sidecar(t *testing.T, west *site, trust map[string]string) {
	out := t.TempDir()
	token := west.ours(west.pod("web-4"))
	west.answered(trust, token, out).OK(t) // as an init container
	_, first := verified(t, out)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(token), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := west.fleet.Command("svid", "fetch", "--agent", west.replica.Peer, "--token-file", file, "--out", out, "--renew")
	for name, value := range trust {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	must(t, err)
	defer said.Close()
	cmd.Stderr = said
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	kept := fleet.Await(soon, func() error { // only then does it hear that it is to end
		text, err := os.ReadFile(said.Name())
		if err == nil && !strings.Contains(string(text), "the certificate that is there is kept") {
			err = fmt.Errorf("found %q", text)
		}
		return err
	})
	if kept != nil {
		t.Errorf("expected it to say that it keeps what is there: %v", kept)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended by itself: %v", err)
	case <-time.After(2 * time.Second):
	}
	if _, now := verified(t, out); now.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("a certificate that was not due was renewed")
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		t.Error("it did not end")
	}
}

// svidsOf is what a replica counted of the requests of pods.
func svidsOf(t *testing.T, r *fleet.Replica) string {
	t.Helper()
	client := http.Client{Timeout: soon}
	answer, err := client.Get("http://" + r.HTTP + "/metrics")
	must(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	must(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "federator_kube_svids_total") {
			out.WriteString(line)
		}
	}
	return out.String()
}
