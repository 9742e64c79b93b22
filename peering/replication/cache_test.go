package replication

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

func openTestCache(t interface {
	Fatal(...any)
	Helper()
}, path string, log *bytes.Buffer) *Cache {
	t.Helper()
	cfg := CacheConfig{Interval: time.Millisecond}
	if log != nil {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	c, err := OpenCache(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sorted(all []catalog.Snapshot) []catalog.Snapshot {
	slices.SortFunc(all, func(a, b catalog.Snapshot) int { return strings.Compare(a.Region, b.Region) })
	for _, s := range all {
		slices.SortFunc(s.Records, func(a, b catalog.Record) int { return strings.Compare(string(a.Key()), string(b.Key())) })
	}
	return all
}

func TestAfterAnyChangesAndRestartsTheCacheHoldsWhatWasFlushed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "cache")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "imports.db")
		c := openTestCache(t, path, nil)
		want := newModel()
		tee := &Tee{View: want, Cache: c, Now: time.Now}
		origins := map[string]*origin{}
		for _, region := range []string{"eu", "us"} {
			o := newOrigin(region, 1)
			origins[region] = o
			o.Tee = &Tee{View: tee.View, Feed: o.Feed, Cache: c, Now: time.Now}
			o.found(1)
		}
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			o := origins[rapid.SampledFrom([]string{"eu", "us"}).Draw(t, "region")]
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				must(c.Close())
				c = openTestCache(t, path, nil)
				origins["eu"].Cache, origins["us"].Cache = c, c
			case 1:
				must(c.Flush())
			case 2:
				epoch := o.Version(o.region).Epoch
				o.Forget(o.region)
				o.found(epoch + 1)
			default:
				mutate(t, o)
			}
		}
		must(c.Close())
		c = openTestCache(t, path, nil)
		got := sorted(c.Load())
		must(c.Close())
		for i, region := range slices.Sorted(maps.Keys(origins)) {
			s, _ := want.Snapshot(region)
			if len(s.Records) == 0 {
				s.Records = nil
			}
			if i >= len(got) || !reflect.DeepEqual(got[i], s) {
				t.Fatalf("got %+v\nwant %+v", got, s)
			}
		}
	})
}

func TestACrashLosesOnlyWhatWasNotFlushedAndNeverMixesVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imports.db")
	c := openTestCache(t, path, nil)
	o := newOrigin("eu", 1)
	o.Cache = c
	o.publish([]catalog.Record{set("web", 1)})
	c.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 2}, Records: []catalog.Record{set("web", 1)}})
	must(c.Flush())
	o.publish([]catalog.Record{set("web", 2), set("api", 2)})
	crashed := filepath.Join(t.TempDir(), "imports.db")
	copyFile(t, path, crashed)
	must(c.Close())
	got := openTestCache(t, crashed, nil)
	defer got.Close()
	all := got.Load()
	if len(all) != 1 || all[0].Version.Seq != 2 || !reflect.DeepEqual(all[0].Records, []catalog.Record{set("web", 1)}) {
		t.Fatalf("got %+v", all)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// filled makes a cache file with two regions.
func filled(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "imports.db")
	c := openTestCache(t, path, nil)
	for _, region := range []string{"eu", "us"} {
		var records []catalog.Record
		for i := range 50 {
			records = append(records, set(region+string(rune('a'+i%26))+string(rune('a'+i/26)), i))
		}
		c.Reset(catalog.Snapshot{Region: region, Version: catalog.Version{Epoch: 1, Seq: 7}, Records: records})
	}
	must(c.Close())
	return path
}

func TestADamagedCacheIsSetAsideWithAWarningAndWhatIsWholeIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string)
		whole  int
	}{
		"garbage":   {func(t *testing.T, p string) { must(os.WriteFile(p, bytes.Repeat([]byte("no"), 9000), 0o600)) }, 0},
		"a stub":    {func(t *testing.T, p string) { must(os.Truncate(p, 100)) }, 0},
		"truncated": {func(t *testing.T, p string) { must(os.Truncate(p, 3*int64(os.Getpagesize()))) }, 0},
		"a rotten record": {func(t *testing.T, p string) {
			b, err := os.ReadFile(p)
			must(err)
			// every copy of the text, also those in free pages
			must(os.WriteFile(p, bytes.ReplaceAll(b, []byte("usaa"), []byte("usab")), 0o600))
		}, 1},
		"a lost record": {func(t *testing.T, p string) {
			edit(t, p, func(regions *bolt.Bucket) error {
				r := set("usaa", 0)
				return regions.Bucket([]byte("us")).Bucket(recordsBucket()).Delete([]byte(r.Key()))
			})
		}, 1},
		"a record that breaks the rules": {func(t *testing.T, p string) {
			edit(t, p, func(regions *bolt.Bucket) error {
				r := set("usaa", 0)
				r.Set.Endpoints[0].Weight = 0
				b, err := proto.Marshal(RecordToPB(&r))
				must(err)
				return regions.Bucket([]byte("us")).Bucket(recordsBucket()).Put([]byte(r.Key()), seal("us", string(r.Key()), b))
			})
		}, 1},
		"another schema": {func(t *testing.T, p string) {
			edit(t, p, func(regions *bolt.Bucket) error {
				return regions.Tx().Bucket(metaBucket()).Put(schemaKey(), []byte("99"))
			})
		}, 0},
		"it crashed three times": {func(t *testing.T, p string) { must(os.WriteFile(p+".opening", []byte("3"), 0o600)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t)
			c.damage(t, path)
			var log bytes.Buffer
			cache := openTestCache(t, path, &log)
			if got := cache.Load(); len(got) != c.whole || c.whole == 1 && got[0].Region != "eu" {
				t.Fatalf("got %d regions, want %d", len(got), c.whole)
			}
			if !strings.Contains(log.String(), "damaged") {
				t.Fatalf("no warning: %s", log.String())
			}
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
				t.Fatalf("%d files set aside", len(aside))
			}
			must(cache.Close())
			log.Reset()
			cache = openTestCache(t, path, &log)
			defer cache.Close()
			if log.Len() > 0 || len(cache.Load()) != c.whole {
				t.Fatalf("the new file is not whole: %s", log.String())
			}
		})
	}
}

func edit(t *testing.T, path string, change func(regions *bolt.Bucket) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	must(err)
	defer db.Close()
	must(db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket(regionsBucket())) }))
}

func TestACacheInUseIsAnErrorAndIsLeftAlone(t *testing.T) {
	path := filled(t)
	c := openTestCache(t, path, nil)
	defer c.Close()
	if _, err := OpenCache(path, CacheConfig{}); err == nil {
		t.Fatal("opened twice")
	}
	if aside, _ := filepath.Glob(path + ".*"); len(aside) != 0 {
		t.Fatalf("left behind %v", aside)
	}
}

func TestOnlyTheLatestDamagedFilesAreKept(t *testing.T) {
	path := filled(t)
	now := time.Unix(1700000000, 0)
	for range 6 {
		must(os.WriteFile(path, []byte("broken"), 0o600))
		now = now.Add(time.Hour)
		c, err := OpenCache(path, CacheConfig{Now: func() time.Time { return now }})
		must(err)
		must(c.Close())
	}
	if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != keepAside {
		t.Fatalf("%d files kept, want %d", len(aside), keepAside)
	}
}

func TestWhatCannotBeWrittenIsKeptAndWrittenLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imports.db")
	c := openTestCache(t, path, nil)
	c.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: []catalog.Record{set("web", 1)}})
	must(c.db.Close())
	if c.Flush() == nil || c.Err() == nil {
		t.Fatal("wrote to a closed file")
	}
	must(c.Apply(catalog.Delta{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 2}, Upserts: []catalog.Record{set("api", 2)}}))
	var err error
	c.db, err = openFile(path)
	must(err)
	must(c.Close())
	c = openTestCache(t, path, nil)
	defer c.Close()
	if got := c.Load(); len(got) != 1 || len(got[0].Records) != 2 || got[0].Version.Seq != 2 {
		t.Fatalf("got %+v", got)
	}
}

func TestTheCacheWritesByItselfWhileItRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imports.db")
	c := openTestCache(t, path, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	c.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 1}})
	eventually(t, "the change is on disk", func() bool {
		all, err := readAll(c.db)
		return err == nil && len(all) == 1
	})
	c.Forget("eu")
	cancel()
	must(<-done)
	must(c.Close())
	c = openTestCache(t, path, nil)
	defer c.Close()
	if got := c.Load(); len(got) != 0 {
		t.Fatalf("forgotten, but loaded: %+v", got)
	}
}

func FuzzCacheEntries(f *testing.F) {
	r := set("web", 1)
	b, _ := proto.Marshal(RecordToPB(&r))
	f.Add(string(r.Key()), seal("eu", string(r.Key()), b))
	f.Add("head", seal("eu", "head", head{catalog.Version{Epoch: 1, Seq: 2}, 3}.bytes()))
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		_, _ = parseHead("eu", b)
		_, _ = parseRecord("eu", key, b)
		// and with a checksum that holds
		_, _ = parseHead("eu", seal("eu", "head", b))
		if r, err := parseRecord("eu", key, seal("eu", key, b)); err == nil && string(r.Key()) != key {
			t.Fatalf("record %q under key %q", r.Key(), key)
		}
	})
}

func FuzzCacheFile(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("not a database"))
	f.Add(bytes.Repeat([]byte{0xed, 0x0c, 0xda, 0xed}, 5000))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "imports.db")
		must(os.WriteFile(path, b, 0o600))
		c, err := OpenCache(path, CacheConfig{})
		if err != nil {
			t.Fatal(err)
		}
		c.Reset(catalog.Snapshot{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 1}})
		must(c.Close())
	})
}
