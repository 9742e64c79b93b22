package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// entries are the files of a tar, by name.
func entries(t *testing.T, r io.Reader) (files map[string][]byte, headers map[string]tar.Header) {
	t.Helper()
	files, headers = map[string][]byte{}, map[string]tar.Header{}
	for reader := tar.NewReader(r); ; {
		h, err := reader.Next()
		if err == io.EOF {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name], headers[h.Name] = content, *h
	}
}

// manifest is an index, a manifest or an artifact.
type manifest struct {
	MediaType    string
	ArtifactType string
	Manifests    []v1.Descriptor
	Config       v1.Descriptor
	Layers       []v1.Descriptor
	Subject      *v1.Descriptor
	Annotations  map[string]string
}

// stored is a layout that was read from its tar.
type stored struct {
	*testing.T
	files map[string][]byte
}

// blob returns what a descriptor describes, after checking that it does.
func (s stored) blob(d v1.Descriptor) []byte {
	s.Helper()
	content, ok := s.files["blobs/sha256/"+d.Digest.Hex]
	sum := sha256.Sum256(content)
	if !ok || int64(len(content)) != d.Size || hex.EncodeToString(sum[:]) != d.Digest.Hex {
		s.Fatalf("%s: expected %d bytes of that digest, found %d", d.Digest, d.Size, len(content))
	}
	return content
}

func (s stored) read(text []byte) (m manifest) {
	s.Helper()
	if err := json.Unmarshal(text, &m); err != nil {
		s.Fatal(err)
	}
	return m
}

const testName = "federator.dev/federator:test"

func TestTheImage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds federator for two architectures; run without -short")
	}
	b := builder{source: "../..", name: testName, arches: []string{"amd64", "arm64"}, created: time.Unix(0, 0).UTC()}
	first, second := filepath.Join(t.TempDir(), "first.tar"), filepath.Join(t.TempDir(), "second.tar")
	digest, err := b.write(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.write(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("is the same when it is built twice", func(t *testing.T) {
		other, err := os.ReadFile(second)
		if err != nil || digest != again || !bytes.Equal(one, other) {
			t.Errorf("found %s and %s, %d and %d bytes, %v", digest, again, len(one), len(other), err)
		}
	})
	files, _ := entries(t, bytes.NewReader(one))
	s := stored{t, files}
	top := s.read(files["index.json"])
	if !strings.Contains(string(files["oci-layout"]), "1.0.0") || len(top.Manifests) != 3 {
		t.Fatalf("expected an image and two SBOMs in a layout, found %s", files["index.json"])
	}
	named := slices.IndexFunc(top.Manifests, func(d v1.Descriptor) bool { return len(d.Annotations) > 0 })
	main := top.Manifests[named]
	if main.Digest != digest || main.Annotations["io.containerd.image.name"] != testName || main.Annotations["org.opencontainers.image.ref.name"] != "test" {
		t.Errorf("expected the name of %s for containerd and others, found %v", digest, main)
	}
	index := s.read(s.blob(main))
	if len(index.Manifests) != 2 {
		t.Fatalf("expected two architectures, found %+v", index.Manifests)
	}
	for i, arch := range b.arches {
		t.Run("holds the binary and nothing else for "+arch, func(t *testing.T) {
			s.T = t
			s.image(index.Manifests[i], arch, top.Manifests, strings.TrimSuffix(first, ".tar"))
		})
	}
	t.Run("is imported by containerd", func(t *testing.T) { imported(t, first) })
}

// image checks the image of one architecture and its SBOM.
func (s stored) image(d v1.Descriptor, arch string, all []v1.Descriptor, beside string) {
	s.Helper()
	m := s.read(s.blob(d))
	var config v1.ConfigFile
	if err := json.Unmarshal(s.blob(m.Config), &config); err != nil {
		s.Fatal(err)
	}
	if d.Platform.Architecture != arch || config.Architecture != arch || config.OS != "linux" ||
		config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/federator"}) {
		s.Errorf("found %v, %+v", d.Platform, config)
	}
	if len(m.Layers) != 1 {
		s.Fatalf("expected one layer, found %d", len(m.Layers))
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(s.blob(m.Layers[0])))
	if err != nil {
		s.Fatal(err)
	}
	files, headers := entries(s.T, unzipped)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"federator", "var/", "var/lib/", "var/lib/federator/"}) {
		s.Errorf("found %v", names)
	}
	if h := headers["federator"]; h.Uid != 0 || h.Mode != 0o555 || h.ModTime.Unix() != 0 {
		s.Errorf("the binary must not be one that its user can replace: %+v", h)
	}
	if h := headers["var/lib/federator/"]; h.Uid != user || h.Mode != 0o700 {
		s.Errorf("the data directory must be the user's: %+v", h)
	}
	info, err := buildinfo.Read(bytes.NewReader(files["federator"]))
	if err != nil {
		s.Fatal(err)
	}
	if setting(info, "GOARCH") != arch || setting(info, "CGO_ENABLED") != "0" || setting(info, "-trimpath") != "true" {
		s.Errorf("expected a static binary for %s, found the settings %v", arch, info.Settings)
	}
	s.sbom(d, all, files["federator"], beside+"-"+arch+".spdx.json")
}

// sbom checks that the SBOM of an image refers to it and lists every module.
func (s stored) sbom(image v1.Descriptor, all []v1.Descriptor, binary []byte, beside string) {
	s.Helper()
	var sbom []byte
	for _, d := range all {
		if m := s.read(s.blob(d)); m.Subject != nil && m.Subject.Digest == image.Digest {
			if m.ArtifactType != sbomType || len(m.Layers) != 1 || m.Layers[0].MediaType != sbomType || string(s.blob(m.Config)) != "{}" {
				s.Errorf("found the artifact %+v", m)
			}
			sbom = s.blob(m.Layers[0])
		}
	}
	if file, err := os.ReadFile(beside); err != nil || !bytes.Equal(file, sbom) {
		s.Errorf("%s: expected what is in the layout, found %d bytes, %v", beside, len(file), err)
	}
	var d document
	if err := json.Unmarshal(sbom, &d); err != nil {
		s.Fatal(err)
	}
	listed, ids := map[string]bool{}, map[string]bool{}
	for _, p := range d.Packages {
		listed[p.Name+"@"+p.Version] = true
		if ids[p.ID] {
			s.Errorf("%s is there twice", p.ID)
		}
		ids[p.ID] = true
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		s.Fatal(err)
	}
	for _, m := range info.Deps {
		used := m
		if m.Replace != nil {
			used = m.Replace
		}
		if !listed[used.Path+"@"+used.Version] {
			s.Errorf("the SBOM lacks %s %s", used.Path, used.Version)
		}
	}
	if want := len(info.Deps) + 2; len(d.Packages) != want || len(d.Relationships) != want || len(info.Deps) < 30 {
		s.Errorf("expected the program, the standard library and %d modules, found %d packages and %d relationships", len(info.Deps), len(d.Packages), len(d.Relationships))
	}
	sum := sha256.Sum256(binary)
	if c := d.Packages[0].Checksums; len(c) != 1 || c[0].Value != hex.EncodeToString(sum[:]) {
		s.Errorf("expected the digest of the binary, found %v", c)
	}
}

// imported has a containerd of its own import the image.
func imported(t *testing.T, path string) {
	for _, tool := range []string{"containerd", "ctr"} {
		if _, err := exec.LookPath(tool); err != nil || os.Geteuid() != 0 {
			t.Skip("needs containerd and root")
		}
	}
	dir, err := os.MkdirTemp("", "ctr-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config, socket := filepath.Join(dir, "config.toml"), filepath.Join(dir, "c.sock")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n",
		dir+"/root", dir+"/state", socket, socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	daemon := exec.Command("containerd", "--config", config)
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	}()
	ctr := func(args ...string) (string, error) {
		out, err := exec.Command("ctr", append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...).CombinedOutput()
		return string(out), err
	}
	deadline := time.Now().Add(60 * time.Second)
	for {
		out, err := ctr("version")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("containerd does not answer: %v\n%s\n%s", err, out, log.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
	if out, err := ctr("images", "import", "--no-unpack", "--all-platforms", path); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	out, err := ctr("images", "list", "name=="+testName)
	if err != nil || !strings.Contains(out, testName) || !strings.Contains(out, "linux/amd64") || !strings.Contains(out, "linux/arm64") {
		t.Errorf("expected the image for both architectures, found %v\n%s", err, out)
	}
}
