package operator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

func TestEveryChangeIsInTheAuditTrailNewestFirst(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	_, err := w.server.Evacuate(w.as(), &pb.EvacuateRequest{Region: "us-west", Duration: durationpb.New(time.Minute)})
	w.must(err)
	r, err := w.server.ListAudit(w.as(), &pb.ListAuditRequest{Actor: "uid:0"})
	w.must(err)
	if len(r.GetEntries()) != 2 {
		t.Fatalf("expected two entries, found %v", r)
	}
	last, first := r.GetEntries()[0], r.GetEntries()[1]
	if last.GetAction() != "put-object" || last.GetSubject() != "evacuation/us-west" || last.GetActor() != "uid:0@a" || last.GetOrigin() != "socket pid:7" || last.GetReplica() != "a" {
		t.Errorf("unexpected entry: %v", last)
	}
	if first.GetAction() != "apply-services" || first.GetSubject() != "cluster west-1" || !strings.Contains(first.GetDetail(), "shop/checkout") {
		t.Errorf("unexpected entry: %v", first)
	}
	one, err := w.server.ListAudit(w.as(), &pb.ListAuditRequest{Limit: 1})
	w.must(err)
	if len(one.GetEntries()) != 1 || one.GetEntries()[0].GetIndex() != last.GetIndex() {
		t.Errorf("expected the newest only, found %v", one)
	}
	_, err = w.server.ListAudit(w.as(), &pb.ListAuditRequest{Limit: maxAudit + 1})
	wants(t, err, codes.InvalidArgument, "INVALID")
}

func TestTheLastReplicaLeavesOnlyWhenForced(t *testing.T) {
	w := newWorld(t)
	_, err := w.server.Leave(w.as(), &pb.LeaveRequest{})
	wants(t, err, codes.FailedPrecondition, "NEEDS_FORCE")
	_, err = w.server.Leave(w.as(), &pb.LeaveRequest{Name: "z"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	_, err = w.server.Leave(w.as(), &pb.LeaveRequest{Force: true, Compromised: true})
	wants(t, err, codes.FailedPrecondition, "NO_REVOCATION")
	if w.left != 0 {
		t.Error("the replica left though it was refused")
	}
	r, err := w.server.Leave(w.as(), &pb.LeaveRequest{Force: true})
	w.must(err)
	if w.left != 1 || len(r.GetWarnings()) != 1 || len(r.GetVoters()) != 0 {
		t.Errorf("expected to have left with a warning, found %d and %v", w.left, r)
	}
}

func TestAStandbyLeavesWithoutMoreAdo(t *testing.T) {
	w := newWorld(t)
	w.do(&state.AdmitReplica{Replica: replicaOf("us-west", "b", "west-1")})
	r, err := w.server.Leave(w.as(), &pb.LeaveRequest{Name: "b"})
	w.must(err)
	if w.left != 0 || !slices.Equal(r.GetVoters(), []string{"a"}) || len(w.server.siblings()) != 1 {
		t.Errorf("unexpected answer %v, left %d, replicas %v", r, w.left, w.server.siblings())
	}
}

func TestARegionIsRemovedWhenItIsSilentOrByForce(t *testing.T) {
	w := newWorld(t)
	for region, reason := range map[string]string{"us-west": "AUTHORITY", "eu-central": "STILL_ANSWERS"} {
		_, err := w.server.RemoveRegion(w.as(), &pb.RemoveRegionRequest{Region: region})
		wants(t, err, codes.FailedPrecondition, reason)
	}
	_, err := w.server.RemoveRegion(w.as(), &pb.RemoveRegionRequest{Region: "eu-central", Epoch: 9, Force: true})
	wants(t, err, codes.FailedPrecondition, "OTHER_EPOCH")
	_, err = w.server.RemoveRegion(w.as(), &pb.RemoveRegionRequest{Region: "mars"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	r, err := w.server.RemoveRegion(w.as(), &pb.RemoveRegionRequest{Region: "eu-central", Force: true})
	w.must(err)
	if !r.GetRegion().GetRemoved() || slices.Contains(w.server.knownRegions(), "eu-central") {
		t.Errorf("expected it removed, found %v and %v", r, w.server.knownRegions())
	}
}

func TestTheKeyringShowsFingerprintsOnly(t *testing.T) {
	w := newWorld(t)
	r, err := w.server.RotateKeyring(w.as(), &pb.RotateKeyringRequest{Without: []string{"eu-central"}})
	w.must(err)
	sum := sha256.Sum256([]byte{1})
	if len(r.GetKeys()) != 2 || r.GetKeys()[0].GetFingerprint() != fmt.Sprintf("%x", sum[:4]) || !r.GetKeys()[0].GetPrimary() || r.GetKeys()[1].GetPrimary() {
		t.Errorf("unexpected keyring: %v", r)
	}
	_, err = w.server.RotateKeyring(w.as(), &pb.RotateKeyringRequest{Without: []string{"mars"}})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

// parts gathers a stream.
// backupHeadOfTest stands for what the wiring puts before the state.
const backupHeadOfTest = "head\n"

type parts struct {
	grpc.ServerStreamingServer[pb.BackupResponse]
	ctx  context.Context
	list []*pb.BackupResponse
}

func (p *parts) Context() context.Context { return p.ctx }
func (p *parts) Send(r *pb.BackupResponse) error {
	p.list = append(p.list, r)
	return nil
}

func TestABackupIsWholeAndCanBeRead(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	for i := range 300 { // more than one part
		w.do(&state.Audit{Action: "fill", Target: "space", Detail: strings.Repeat(fmt.Sprint(i), 300)})
	}
	stream := &parts{ctx: w.as()}
	w.must(w.server.Backup(nil, stream))
	var archive []byte
	for i, p := range stream.list {
		if len(p.GetData()) > backupPart || (p.GetRegion() != nil) != (i == 0) || (p.GetSha256() != nil) != (i == len(stream.list)-1) {
			t.Errorf("part %d of %d: %d bytes, region %v, digest %x", i, len(stream.list), len(p.GetData()), p.GetRegion(), p.GetSha256())
		}
		archive = append(archive, p.GetData()...)
	}
	sum := sha256.Sum256(archive)
	if len(stream.list) < 2 || !bytes.Equal(sum[:], stream.list[len(stream.list)-1].GetSha256()) {
		t.Errorf("expected several parts and their digest, found %d", len(stream.list))
	}
	archive, found := bytes.CutPrefix(archive, []byte(backupHeadOfTest))
	if !found {
		t.Errorf("expected the backup to begin with its head, found %.40q", archive)
	}
	manifest, read, err := state.ReadBackup(bytes.NewReader(archive))
	w.must(err)
	audit := read.Audit(1)
	if manifest.Region != "us-west" || len(audit) != 1 || !strings.HasPrefix(audit[0].Detail, "backup: ") {
		t.Errorf("expected the backup to hold its own line of the trail, found %v", audit)
	}
}

func TestAUsedTokenNamesWhoUsedIt(t *testing.T) {
	replica := replicaOf("us-west", "b", "west-1")
	for want, r := range map[string]*state.Redemption{
		"us-west/b":        {Replica: &replica, From: "10.0.0.1:5"},
		"eu-central/e1":    {Result: []byte(`{"region":"eu-central","name":"e1"}`), From: "10.0.0.1:5"},
		"from 10.0.0.1:5":  {From: "10.0.0.1:5"},
		"from 10.0.0.1:55": {Result: []byte(`[]`), From: "10.0.0.1:55"},
	} {
		r.At = time.Unix(9, 0)
		got := tokenInfo(state.Token{Purpose: "join", Redeemed: r}, time.Now())
		if got.GetUsedBy() != want || got.GetState() != "used" || got.GetUsed() == nil {
			t.Errorf("expected %s, found %v", want, got)
		}
	}
	if got := tokenInfo(state.Token{Purpose: "other", Expires: time.Unix(9, 0)}, time.Now()); got.GetState() != "expired" || got.GetDescription() != "other" {
		t.Errorf("unexpected token: %v", got)
	}
}

func TestVersionSaysWhatTheRegionRunsAt(t *testing.T) {
	v, err := newWorld(t).server.Version(t.Context(), nil)
	if err != nil || v.GetProtocol() != state.Protocol || v.GetMaxProtocol() < 1 || v.GetGoVersion() == "" {
		t.Errorf("unexpected version %v, %v", v, err)
	}
}
