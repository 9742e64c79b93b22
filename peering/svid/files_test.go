package svid

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/federator/federator/identity"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	must(t, err)
	var out []string
	for _, f := range all {
		if !strings.HasPrefix(f.Name(), versions) {
			out = append(out, f.Name())
			continue
		}
		out = append(out, versions)
	}
	return out
}

func TestOtherSoftwareReadsTheFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	a := newAuthority(t)
	_, err := a.keeper(dir).Once(t.Context())
	must(t, err)
	domain := spiffeid.RequireTrustDomainFromString("acme.example")
	bundle, err := x509bundle.Load(domain, filepath.Join(dir, BundleFile))
	must(t, err)
	svid, err := x509svid.Load(filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile))
	must(t, err)
	if id, _, err := x509svid.Verify(svid.Certificates, bundle); err != nil || id.String() != web().String() || len(svid.Certificates) != 2 {
		t.Errorf("found %s of %d, %v", id, len(svid.Certificates), err)
	}
	for name, want := range map[string]os.FileMode{CertificateFile: 0o644, KeyFile: 0o600, BundleFile: 0o644, current: 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s: expected mode %o, found %o", name, want, info.Mode().Perm())
		}
	}
}

func TestOnlyTheCurrentVersionAndTheOneBeforeStay(t *testing.T) {
	dir := t.TempDir()
	k := newAuthority(t).keeper(dir)
	// What crashes leave.
	must(t, os.Mkdir(filepath.Join(dir, versions+"half"), 0o700))
	must(t, os.Symlink("nowhere", filepath.Join(dir, next)))
	must(t, os.Symlink("nowhere", filepath.Join(dir, KeyFile+"-new")))
	for i := range 4 {
		_, err := k.Once(t.Context())
		must(t, err)
		want := []string{current, versions, BundleFile, KeyFile, CertificateFile}
		if i > 0 {
			want = slices.Insert(want, 1, versions)
		}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Fatalf("expected %v, found %v", want, got)
		}
	}
}

// Whoever reads while files are replaced never finds half of a file, nor none, nor a
// certificate with another's key.
func TestAReaderAlwaysFindsWholeFiles(t *testing.T) {
	dir := t.TempDir()
	k := newAuthority(t).keeper(dir)
	_, err := k.Once(t.Context())
	must(t, err)
	read := func() error {
		version, err := os.Readlink(filepath.Join(dir, current))
		if err != nil {
			return err
		}
		at := filepath.Join(dir, version)
		if _, err = tls.LoadX509KeyPair(filepath.Join(at, CertificateFile), filepath.Join(at, KeyFile)); err != nil {
			return err
		}
		_, err = os.ReadFile(filepath.Join(dir, BundleFile))
		return err
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	var reads atomic.Int64
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := read(); err != nil {
				t.Error(err)
			}
			reads.Add(1)
		}
	})
	for range 50 {
		_, err := k.Once(t.Context())
		must(t, err)
		// As no two renewals are within a minute, nobody reads across two of them.
		for before := reads.Load(); reads.Load() == before; {
			runtime.Gosched()
		}
	}
	close(stop)
	reader.Wait()
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	for _, name := range []string{CertificateFile, KeyFile, BundleFile} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600))
		if _, err := newAuthority(t).keeper(dir).Once(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "mine" {
			t.Errorf("%s: found %q, %v", name, b, err)
		}
	}
}

func TestACertificateIsLoadedOnlyIfItIsOnesOwn(t *testing.T) {
	dir := t.TempDir()
	if leaf, err := Load(dir, web()); leaf != nil || err != nil {
		t.Errorf("an empty directory: %v, %v", leaf, err)
	}
	_, err := newAuthority(t).keeper(dir).Once(t.Context())
	must(t, err)
	if leaf, err := Load(dir, web()); err != nil || leaf == nil || leaf.NotAfter.Before(time.Now()) {
		t.Errorf("found %v, %v", leaf, err)
	}
	if leaf, err := Load(dir, identity.WorkloadID("acme.example", "shop", "api")); err == nil || leaf != nil {
		t.Error("another account's certificate was taken")
	}
	must(t, os.WriteFile(filepath.Join(dir, KeyFile), []byte("damaged"), 0o600))
	if leaf, err := Load(dir, web()); err == nil || leaf != nil {
		t.Error("a damaged key was taken")
	}
}
