package svid

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/federator/federator/identity"
)

// The files of a directory.
const (
	CertificateFile = "svid.pem"
	KeyFile         = "key.pem"
	BundleFile      = "bundle.pem"
)

const (
	current  = "..data"     // links to the version in use
	next     = "..data-new" // is renamed to it
	versions = "..svid-"    // begins the name of a version
)

// Bundle is what is written.
type Bundle struct {
	// Chain is leaf, intermediate and, perhaps, root in DER.
	Chain [][]byte
	Key   crypto.Signer
	Roots []*x509.Certificate
}

// Write replaces what is in dir, which it makes if need be (mode 0755). A crash
// leaves either the old files or the new ones. Files of the same names that Write
// did not make are left alone, which is an error.
func Write(dir string, b Bundle) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{CertificateFile, KeyFile, BundleFile} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("%s is not a file of \"federator svid\"; give a directory of its own", filepath.Join(dir, name))
		}
	}
	version, err := writeVersion(dir, b)
	if err != nil {
		return err
	}
	before, _ := os.Readlink(filepath.Join(dir, current)) // none at first
	if err := link(dir, filepath.Base(version)); err != nil {
		return errors.Join(err, os.RemoveAll(version))
	}
	return clean(dir, filepath.Base(version), before)
}

// writeVersion writes the files into a new directory below dir.
func writeVersion(dir string, b Bundle) (_ string, err error) {
	key, err := identity.MarshalKey(b.Key)
	if err != nil {
		return "", err
	}
	defer clear(key)
	version, err := os.MkdirTemp(dir, versions)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(version))
		}
	}()
	// The key has a mode of its own; the rest is for everybody.
	if err := os.Chmod(version, 0o755); err != nil {
		return version, err
	}
	var roots [][]byte
	for _, root := range b.Roots {
		roots = append(roots, root.Raw)
	}
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{
		{CertificateFile, encode("CERTIFICATE", b.Chain[:min(2, len(b.Chain))]...), 0o644},
		{KeyFile, encode("PRIVATE KEY", key), 0o600},
		{BundleFile, encode("CERTIFICATE", roots...), 0o644},
	} {
		if err := identity.WriteFile(filepath.Join(version, f.name), f.text, f.mode); err != nil {
			return version, err
		}
	}
	return version, nil
}

func encode(kind string, ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return out
}

// link makes a version the current one, in one step.
func link(dir, version string) error {
	if err := replaceLink(dir, version, next, current); err != nil {
		return err
	}
	for _, name := range []string{CertificateFile, KeyFile, BundleFile} {
		target := filepath.Join(current, name)
		if old, err := os.Readlink(filepath.Join(dir, name)); err == nil && old == target {
			continue
		}
		if err := replaceLink(dir, target, name+"-new", name); err != nil {
			return err
		}
	}
	return nil
}

func replaceLink(dir, target, temporary, name string) error {
	made := filepath.Join(dir, temporary)
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a crash
		return err
	}
	if err := os.Symlink(target, made); err != nil {
		return err
	}
	return os.Rename(made, filepath.Join(dir, name))
}

// clean removes every version but the current one and the one before, which somebody
// may be reading who has followed the link already; also those that a crash left.
func clean(dir string, but ...string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range all {
		if strings.HasPrefix(f.Name(), versions) && !slices.Contains(but, f.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}

// Load returns the certificate in dir if it is for the identity and has its key;
// nil if there is none.
func Load(dir string, id identity.ID) (*x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate in %s: %w", dir, err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != id.String() {
		return nil, fmt.Errorf("the certificate in %s is of %v: expected %s", dir, leaf.URIs, id)
	}
	return leaf, nil
}
