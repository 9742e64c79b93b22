package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// The file: bucket "meta" holds the schema under its own name. Bucket "regions"
// has one bucket per region, with the region's head (version and number of
// records) and a bucket of the records by key. Head and records begin with a
// CRC-32C over region, key and content, for bbolt itself does not notice a page
// that rotted. Beside the head is how many fields the writer knew, and up to which
// version; builds that do not write it do not read it either.
const (
	cacheSchema = "1"
	// knownFields goes up by one whenever records get new fields: session affinity,
	// properties. What a build with fewer took over lacks them for good, for a region
	// does not send again what has not changed.
	knownFields    = 2
	fieldsBytes    = 24
	maxCacheRegion = 1024
	headBytes      = 24
)

func metaBucket() []byte    { return []byte("meta") }
func schemaKey() []byte     { return []byte("schema") }
func regionsBucket() []byte { return []byte("regions") }
func recordsBucket() []byte { return []byte("records") }
func headKey() []byte       { return []byte("head") }
func fieldsKey() []byte     { return []byte("fields") }

var errSchema = errors.New("written with another schema")

// seal prefixes content with its checksum.
func seal(region, key string, content []byte) []byte {
	out := make([]byte, 4, 4+len(content))
	binary.BigEndian.PutUint32(out, checksum(region, key, content))
	return append(out, content...)
}

// unseal returns the content if its checksum holds.
func unseal(region, key string, b []byte) ([]byte, error) {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != checksum(region, key, b[4:]) {
		return nil, fmt.Errorf("region %q, entry %q: checksum differs", printable(region, maxName), printable(key, maxKey))
	}
	return b[4:], nil
}

func checksum(region, key string, content []byte) uint32 {
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	for _, part := range []string{region, "\x00", key, "\x00"} {
		h.Write([]byte(part))
	}
	h.Write(content)
	return h.Sum32()
}

// head is the version and the number of records of a region.
type head struct {
	version catalog.Version
	count   uint64
}

func (h head) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, h.version.Epoch)
	b = binary.BigEndian.AppendUint64(b, h.version.Seq)
	return binary.BigEndian.AppendUint64(b, h.count)
}

func parseHead(region string, b []byte) (head, error) {
	b, err := unseal(region, string(headKey()), b)
	if err != nil {
		return head{}, err
	}
	if len(b) != headBytes {
		return head{}, fmt.Errorf("region %q: head of %d bytes, expected %d", region, len(b), headBytes)
	}
	h := head{catalog.Version{Epoch: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}, binary.BigEndian.Uint64(b[16:])}
	if h.version.Epoch == 0 || h.count > maxRecords {
		return head{}, fmt.Errorf("region %q: head %s with %d records is not valid", region, h.version, h.count)
	}
	return h, nil
}

// fieldsOf is what is written beside the head.
func fieldsOf(v catalog.Version) []byte {
	b := binary.BigEndian.AppendUint64(nil, knownFields)
	b = binary.BigEndian.AppendUint64(b, v.Epoch)
	return binary.BigEndian.AppendUint64(b, v.Seq)
}

// complete reports whether all up to a version was written by builds that know the
// fields of this one.
func complete(region string, v catalog.Version, b []byte) bool {
	b, err := unseal(region, string(fieldsKey()), b)
	return err == nil && len(b) == fieldsBytes && binary.BigEndian.Uint64(b) >= knownFields && bytes.Equal(b[8:], fieldsOf(v)[8:])
}

// parseRecord reads one record and checks that it is the one the key names.
func parseRecord(region, key string, b []byte) (catalog.Record, error) {
	b, err := unseal(region, key, b)
	if err != nil {
		return catalog.Record{}, err
	}
	var p pb.Record
	if err := proto.Unmarshal(b, &p); err != nil {
		return catalog.Record{}, fmt.Errorf("region %q, record %q: %w", region, key, err)
	}
	r, err := publishedFromPB(region, &p)
	if err == nil && string(r.Key()) != key {
		err = fmt.Errorf("region %q: record %q under key %q", region, r.Key(), key)
	}
	return r, err
}

// readAll reads every region. Those that are whole are returned also when there
// is an error for others.
func readAll(db *bolt.DB) (all []catalog.Snapshot, err error) {
	err = guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			meta, regions := tx.Bucket(metaBucket()), tx.Bucket(regionsBucket())
			if meta == nil && regions == nil {
				return nil // new
			}
			if meta == nil || string(meta.Get(schemaKey())) != cacheSchema {
				return errSchema
			}
			if regions == nil {
				return errors.New("no regions")
			}
			var names []string
			if err := regions.ForEachBucket(func(k []byte) error {
				if names = append(names, string(k)); len(names) > maxCacheRegion {
					return fmt.Errorf("more than %d regions", maxCacheRegion)
				}
				return nil
			}); err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				s, err := readRegion(regions.Bucket([]byte(name)), name)
				if errs = append(errs, err); err == nil {
					all = append(all, s)
				}
			}
			return errors.Join(errs...)
		})
	})
	return all, err
}

func readRegion(b *bolt.Bucket, name string) (s catalog.Snapshot, err error) {
	err = guarded(func() error {
		if err := catalog.ValidateLabel("region", name); err != nil {
			return err
		}
		h, err := parseHead(name, b.Get(headKey()))
		if err != nil {
			return err
		}
		s = catalog.Snapshot{Region: name, Version: h.version}
		if !complete(name, h.version, b.Get(fieldsKey())) {
			s.Partial = true // it serves until the region has sent all of it again
		}
		records := b.Bucket(recordsBucket())
		if records == nil {
			return fmt.Errorf("region %q has no records", name)
		}
		if err := records.ForEach(func(k, v []byte) error {
			r, err := parseRecord(name, string(k), v)
			if s.Records = append(s.Records, r); uint64(len(s.Records)) > h.count {
				return fmt.Errorf("region %q has more than its %d records", name, h.count)
			}
			return err
		}); err != nil {
			return err
		}
		if uint64(len(s.Records)) != h.count {
			return fmt.Errorf("region %q has %d records, expected %d", name, len(s.Records), h.count)
		}
		return nil
	})
	return s, err
}

// write writes a batch in one transaction.
func (c *Cache) write(batch map[string]*change) error {
	return guarded(func() error {
		return c.db.Update(func(tx *bolt.Tx) error {
			regions, err := prepare(tx)
			if err != nil {
				return err
			}
			for region, ch := range batch {
				if err := ch.write(regions, region); err != nil {
					return fmt.Errorf("region %q: %w", region, err)
				}
			}
			return nil
		})
	})
}

// prepare makes the outer buckets and returns that of the regions.
func prepare(tx *bolt.Tx) (*bolt.Bucket, error) {
	meta, err := tx.CreateBucketIfNotExists(metaBucket())
	if err != nil {
		return nil, err
	}
	if err := meta.Put(schemaKey(), []byte(cacheSchema)); err != nil {
		return nil, err
	}
	return tx.CreateBucketIfNotExists(regionsBucket())
}

func (ch *change) write(regions *bolt.Bucket, region string) error {
	if (ch.replace || ch.forget) && regions.Bucket([]byte(region)) != nil {
		if err := regions.DeleteBucket([]byte(region)); err != nil {
			return err
		}
	}
	if ch.forget {
		return nil
	}
	b, err := regions.CreateBucketIfNotExists([]byte(region))
	if err != nil {
		return err
	}
	var h head
	whole := ch.replace && !ch.partial
	if old := b.Get(headKey()); old != nil {
		if h, err = parseHead(region, old); err != nil {
			return err
		}
		whole = complete(region, h.version, b.Get(fieldsKey()))
	}
	records, err := b.CreateBucketIfNotExists(recordsBucket())
	if err != nil {
		return err
	}
	h.version = ch.version
	if err := ch.writeRecords(records, region, &h.count); err != nil {
		return err
	}
	if whole {
		if err := b.Put(fieldsKey(), seal(region, string(fieldsKey()), fieldsOf(h.version))); err != nil {
			return err
		}
	}
	return b.Put(headKey(), seal(region, string(headKey()), h.bytes()))
}

// writeRecords writes in the order of the keys, which keeps the pages full.
func (ch *change) writeRecords(b *bolt.Bucket, region string, count *uint64) error {
	for _, k := range sortedKeys(ch.records) {
		known := b.Get([]byte(k)) != nil
		r := ch.records[k]
		if r == nil {
			if known {
				*count--
			}
			if err := b.Delete([]byte(k)); err != nil {
				return err
			}
			continue
		}
		content, err := proto.Marshal(RecordToPB(r))
		if err != nil {
			return err
		}
		if !known {
			*count++
		}
		if err := b.Put([]byte(k), seal(region, string(k), content)); err != nil {
			return err
		}
	}
	return nil
}

// guarded turns the panics and memory faults of a damaged file into errors.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	return f()
}
