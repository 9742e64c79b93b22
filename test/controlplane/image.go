//go:build linux

package controlplane

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// WorkloadImage is an image that every node has: the program in workload/, which
// serves HTTP on port 8080 and says which pod it is.
const WorkloadImage = "federator.test/workload:1"

// pauseImage is what holds the namespaces of a pod: the same program, idle.
const pauseImage = "federator.test/pause:1"

// Image is an image of one static program and nothing else.
type Image struct {
	Names   []string // such as federator.test/agent:1
	Program string   // a file of this machine; /program in the image
	Args    []string // what follows it, if a pod says nothing else
	User    string   // such as 65532:65532; empty means root
}

// BuildStatic builds the Go command in dir as a static program.
func BuildStatic(ctx context.Context, dir, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", dir, err, out)
	}
	return nil
}

// BuildFederator builds the image of federator as make image does, for this machine
// only, as a tar that [Cluster.Load] takes. checkout is the root of the sources.
func BuildFederator(ctx context.Context, checkout, tar string) error {
	cmd := exec.CommandContext(ctx, "go", "run", "-C", filepath.Join(checkout, "tools"), "./image", "-arch", runtime.GOARCH, "-out", tar)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the image of federator from the checkout %s: %w\n%s", checkout, err, text)
	}
	return nil
}

// WriteImage writes an image as a tar that [Cluster.Load] takes.
func WriteImage(path string, image Image) (err error) {
	layer, err := os.CreateTemp(filepath.Dir(path), "layer-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, layer.Close(), os.Remove(layer.Name())) }()
	digest, err := writeLayer(layer, image.Program)
	if err != nil {
		return fmt.Errorf("the layer of %s: %w", image.Program, err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/program"}, "Cmd": image.Args, "User": image.User, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": image.Names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	size, err := layer.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = layer.Seek(0, io.SeekStart)
	}
	return errors.Join(err,
		writeFile(w, configName, 0o644, int64(len(config)), bytes.NewReader(config)),
		writeFile(w, "layer.tar", 0o644, size, layer),
		writeFile(w, "manifest.json", 0o644, int64(len(manifest)), bytes.NewReader(manifest)),
		w.Close(),
	)
}

// writeLayer writes a layer that is one program, and returns its digest.
func writeLayer(layer io.Writer, program string) (string, error) {
	f, err := os.Open(program)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	w := tar.NewWriter(io.MultiWriter(layer, digest))
	if err := errors.Join(writeFile(w, "program", 0o755, info.Size(), f), w.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

func writeFile(w *tar.Writer, name string, mode, size int64, content io.Reader) error {
	header := &tar.Header{Name: name, Mode: mode, Size: size, Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(w, content)
	return err
}
