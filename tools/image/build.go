package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// user is the one that runs in the image: nobody that has a name.
	user = 65532
	// dataDir is the only thing beside the binary, for those that mount nothing there.
	dataDir = "var/lib/federator"
	// sbomType is the media type of the SBOMs.
	sbomType = "application/spdx+json"
	// emptyType is that of the configuration of artifacts that have none (OCI 1.1).
	emptyType = "application/vnd.oci.empty.v1+json"
)

// builder builds one image.
type builder struct {
	source, name string
	arches       []string
	// created is the time that everything in the image has.
	created time.Time
}

// write builds the image, writes its tar, and the SBOM of each architecture beside
// it, and returns the digest of its index.
func (b builder) write(ctx context.Context, out string) (v1.Hash, error) {
	work, err := os.MkdirTemp("", "federator-image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(work)
	top, err := layout.Write(filepath.Join(work, "layout"), empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range b.arches {
		binary := filepath.Join(work, arch, "federator")
		if err := b.compile(ctx, arch, binary); err != nil {
			return v1.Hash{}, err
		}
		image, err := b.image(arch, binary)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		sbom, err := b.sbom(arch, binary)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", arch, err)
		}
		if err := os.WriteFile(strings.TrimSuffix(out, ".tar")+"-"+arch+".spdx.json", sbom, 0o644); err != nil {
			return v1.Hash{}, err
		}
		if err := attach(top, image, sbom); err != nil {
			return v1.Hash{}, fmt.Errorf("%s: attach the SBOM: %w", arch, err)
		}
	}
	// containerd names the image by the first of these, others by the second.
	_, tag, _ := strings.Cut(filepath.Base(b.name), ":")
	names := map[string]string{"io.containerd.image.name": b.name, "org.opencontainers.image.ref.name": tag}
	if err := top.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return v1.Hash{}, err
	}
	if err := pack(string(top), out); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// compile builds the binary as make build does, and without what differs from one
// build to the next.
func (b builder) compile(ctx context.Context, arch, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-buildid=", "-o", binary, "./cmd/federator")
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build for %s: %w\n%s", arch, err, text)
	}
	return nil
}

// image is the one of an architecture.
func (b builder) image(arch, binary string) (v1.Image, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	packed, err := b.files(content)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{CreatedBy: "federator tools/image", Created: v1.Time{Time: b.created}}})
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: b.created}
	config.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", user, user), Entrypoint: []string{"/federator"}, WorkingDir: "/",
		Env: []string{"PATH=/"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "federator",
			"org.opencontainers.image.version":  info.Main.Version,
			"org.opencontainers.image.revision": setting(info, "vcs.revision"),
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// files is the tar of what is in the image.
func (b builder) files(binary []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range []tar.Header{
		{Name: "federator", Typeflag: tar.TypeReg, Mode: 0o555, Size: int64(len(binary))},
		{Name: "var/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "var/lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: dataDir + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: user, Gid: user},
	} {
		h.ModTime, h.Format = b.created, tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(binary); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), w.Close()
}

// artifact is an OCI artifact: a manifest with a subject, whose configuration is
// empty.
type artifact struct {
	v1.Image
	manifest []byte
}

func (a artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (a artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a artifact) RawConfigFile() ([]byte, error)      { return []byte("{}"), nil }
func (a artifact) Digest() (v1.Hash, error)            { return partial.Digest(a) }
func (a artifact) Size() (int64, error)                { return partial.Size(a) }
func (a artifact) Manifest() (*v1.Manifest, error)     { return partial.Manifest(a) }
func (a artifact) ConfigName() (v1.Hash, error)        { return partial.ConfigName(a) }

// attach puts an SBOM into the layout, as an artifact that refers to its image.
func attach(top layout.Path, image v1.Image, sbom []byte) error {
	subject, err := partial.Descriptor(image)
	if err != nil {
		return err
	}
	layer := static.NewLayer(sbom, sbomType)
	described, err := partial.Descriptor(layer)
	if err != nil {
		return err
	}
	none := static.NewLayer([]byte("{}"), emptyType)
	config, err := partial.Descriptor(none)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": sbomType,
		"config": config, "layers": []v1.Descriptor{*described}, "subject": subject,
	})
	if err != nil {
		return err
	}
	base, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	return top.AppendImage(artifact{base, manifest})
}

// pack writes the files of a layout into a tar, sorted and without times.
func pack(dir, out string) (err error) {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { // in lexical order
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h := tar.Header{Name: filepath.ToSlash(name) + "/", Typeflag: tar.TypeDir, Mode: 0o755}
		if d.IsDir() {
			return w.WriteHeader(&h)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h = tar.Header{Name: filepath.ToSlash(name), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	for _, end := range []func() error{w.Close, f.Close} {
		if e := end(); err == nil {
			err = e
		}
	}
	return err
}
