package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
)

// The pace of watching: a burst of events settles for debounce before the file
// is read; every pollEvery the file is looked at without any event, because
// notifications are lost on network file systems and when folders are replaced.
const (
	debounce  = 50 * time.Millisecond
	pollEvery = 2 * time.Second
)

// Source is a watched services file. It implements [source.Source].
type Source struct {
	path    string
	cluster string
	log     *slog.Logger
	now     func() time.Time

	seen       stamp     // of the file as it was last read
	digest     [32]byte  // of the content that was last taken or refused
	failing    string    // the error that was last reported, "" if none
	staleSince time.Time // since when it fails
}

// New returns the services file at path as the source of a cluster. The file
// need not exist yet.
func New(path, cluster string, log *slog.Logger) *Source {
	return &Source{path: path, cluster: cluster, log: log.With("cluster", cluster), now: time.Now}
}

var _ source.Source = (*Source)(nil)

// Run implements [source.Source]. It watches the file's folder rather than the
// file, so that editors and tools which replace the file, or the symbolic link
// to it (as Kubernetes does with ConfigMaps), are noticed.
func (s *Source) Run(ctx context.Context, out func(source.Update)) error {
	watch := newWatch(filepath.Dir(s.path), s.log)
	defer watch.close()
	settle := time.NewTimer(0)
	defer settle.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watch.events():
			settle.Reset(debounce)
		case <-watch.errors(): // events were lost
			settle.Reset(debounce)
		case <-poll.C:
			watch.renew()
			if s.changed() {
				settle.Reset(debounce)
			}
		case <-settle.C:
			s.read(out)
		}
	}
}

// stamp is what tells one state of a file from another without reading it.
type stamp struct {
	size    int64
	modTime time.Time
	info    os.FileInfo
}

func (s *Source) changed() bool {
	info, err := os.Stat(s.path)
	if err != nil {
		return s.failing == ""
	}
	old := s.seen
	return old.info == nil || old.size != info.Size() || !old.modTime.Equal(info.ModTime()) || !os.SameFile(old.info, info)
}

// read takes the file as it is now and reports it, if that is news.
func (s *Source) read(out func(source.Update)) {
	data, err := s.load()
	var services Services
	if err == nil {
		digest := sha256.Sum256(data)
		if digest == s.digest {
			return // also while it is failing: the same mistakes were reported
		}
		if services, err = Parse(data, s.cluster); err != nil {
			err = fmt.Errorf("%s: %w", s.path, err)
		}
		s.digest = digest
	} else {
		s.digest = [32]byte{} // what comes back is news even if it is the same
	}
	if err != nil {
		s.fail(err, out)
		return
	}
	if s.failing != "" {
		s.log.Info("services file is readable again", "path", s.path)
	}
	s.failing, s.staleSince = "", time.Time{}
	sets := make([]*catalog.EndpointSet, len(services.Sets))
	for i := range services.Sets {
		sets[i] = &services.Sets[i]
	}
	out(source.Update{Sets: sets, Prefixes: services.Prefixes})
}

func (s *Source) fail(err error, out func(source.Update)) {
	if s.failing == err.Error() {
		return
	}
	if s.failing == "" {
		s.staleSince = s.now()
	}
	s.failing = err.Error()
	s.log.Warn("services file cannot be taken; the last good state stays", "path", s.path, "error", err)
	out(source.Update{Err: err, StaleSince: s.staleSince})
}

// load reads the file, no more than its bound and nothing that could block.
func (s *Source) load() ([]byte, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		s.seen = stamp{}
		return nil, fmt.Errorf("services file: %w; create it, or mend its permissions", err)
	}
	s.seen = stamp{info.Size(), info.ModTime(), info}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("services file %s: expected a regular file, found %s", s.path, info.Mode().Type())
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, fmt.Errorf("services file: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("services file: %w", err)
	}
	return data, nil
}

// watch is a watched folder that may come, go and be replaced.
type watch struct {
	dir     string
	log     *slog.Logger
	watcher *fsnotify.Watcher // nil where the system offers none
}

func newWatch(dir string, log *slog.Logger) *watch {
	w := &watch{dir: dir, log: log}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no file notifications; the services file is looked at every 2 seconds", "error", err)
		return w
	}
	w.watcher = watcher
	w.renew()
	return w
}

// renew watches the folder again if it was not there or has been replaced.
// Adding a folder that is watched already changes nothing.
func (w *watch) renew() {
	if w.watcher != nil {
		_ = w.watcher.Add(w.dir) // it does not exist yet: polling goes on
	}
}

func (w *watch) events() <-chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *watch) errors() <-chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}

func (w *watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}
