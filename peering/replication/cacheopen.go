package replication

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/federator/federator/federation/catalog"
)

const (
	maxOpenings = 3       // crashes while opening before the file is set aside unseen
	keepAside   = 3       // damaged files that are kept
	maxFile     = 8 << 30 // bytes
)

// open opens the file, sets it aside if it is damaged, and reads it.
//
// A damaged file might crash the process in a way that cannot be caught. So the
// openings are counted in a file beside it, and after three that did not come to
// an end the cache is set aside without being looked at.
func (c *Cache) open() error {
	openings, err := c.countOpening()
	if err != nil {
		return err
	}
	if openings > maxOpenings {
		return c.renew(nil, fmt.Errorf("the last %d attempts to read it crashed", maxOpenings))
	}
	db, err := openFile(c.path)
	if isRefusal(err) {
		return errors.Join(err, c.opened())
	}
	if err != nil {
		return c.renew(nil, err)
	}
	all, err := readAll(db)
	if err != nil {
		_ = guarded(db.Close)
		return c.renew(all, err)
	}
	c.db, c.loaded = db, all
	return c.opened()
}

// renew sets the damaged file aside and begins a new one with what was whole.
func (c *Cache) renew(whole []catalog.Snapshot, reason error) error {
	aside := c.path + ".damaged-" + c.now().UTC().Format("20060102T150405.000")
	if err := os.Rename(c.path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.log.Warn("the cache of imported regions is damaged: it was set aside, and what is missing is fetched again",
		"path", c.path, "aside", aside, "whole", len(whole), "error", reason)
	c.dropOldest()
	db, err := openFile(c.path)
	if err != nil {
		return err
	}
	c.db, c.loaded = db, whole
	for _, s := range whole {
		c.Reset(s)
	}
	return errors.Join(c.Flush(), c.opened())
}

// dropOldest bounds the damaged files that are kept; their names sort by time.
func (c *Cache) dropOldest() {
	aside, _ := filepath.Glob(c.path + ".damaged-*")
	slices.Sort(aside)
	for ; len(aside) > keepAside; aside = aside[1:] {
		_ = os.Remove(aside[0])
	}
}

// countOpening adds this attempt to the count and returns it.
func (c *Cache) countOpening() (int, error) {
	b, err := os.ReadFile(c.marker())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	n = max(0, n) + 1
	return n, os.WriteFile(c.marker(), []byte(strconv.Itoa(n)), 0o600)
}

// opened tells that the attempt came to an end.
func (c *Cache) opened() error {
	if err := os.Remove(c.marker()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *Cache) marker() string { return c.path + ".opening" }

func openFile(path string) (db *bolt.DB, err error) {
	var file *os.File
	err = guarded(func() error {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      time.Second,
			FreelistType: bolt.FreelistMapType,
			MaxSize:      maxFile,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				var err error
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if err != nil && file != nil {
		_ = file.Close() // releases the lock also after a panic
	}
	return db, err
}

// isRefusal tells an error of the surroundings from one of the file's content.
func isRefusal(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, berrors.ErrTimeout) || errors.As(err, &errno)
}
