package replication

import (
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Limits on what is accepted from outside, and kept to when sending.
const (
	maxMessageBytes  = 4 << 20   // one gRPC message
	maxRecordBytes   = 2 << 20   // one record, encoded
	maxDeltaBytes    = 2 << 20   // a larger delta is sent as a snapshot
	chunkBytes       = 256 << 10 // records of one snapshot chunk, about
	maxSnapshotBytes = 1 << 30   // all records of one snapshot, encoded
	maxRecords       = 1 << 20   // records of one region

	maxEndpoints     = 10_000 // of one set
	maxPorts         = 256    // of one set, and of one endpoint
	maxPrefixes      = 4096   // of one cluster
	maxClusters      = 1024   // of one region
	maxAcks          = 1024   // of one tombstone
	maxHealthChanges = 500    // of one health delta; beyond, gossip asks for a resync

	maxName      = 253 // names, hosts, ids
	maxKey       = 512 // record keys
	maxText      = 1024
	maxSpecBytes = catalog.MaxSpec
	maxDERBytes  = 16 << 10
	maxListBytes = 1 << 20
	maxThreshold = 10
	maxProtocol  = 1 << 16

	minCheckInterval = 10 * time.Millisecond
	maxCheckInterval = 24 * time.Hour
)
