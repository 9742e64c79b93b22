package operator

import (
	"context"
	"crypto/sha256"
	"hash"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
)

const (
	// backupPart is the most that one message of a backup holds, in bytes.
	backupPart = 64 << 10
	// backupNote is how long a backup waits for its line in the audit trail.
	backupNote = 3 * time.Second
)

// Backup streams an archive of the region's state. Any replica can make it: the
// line in the audit trail goes through the leader and is waited for here, so that
// the archive holds everything that was acknowledged before the call. A region
// that lost its quorum can be backed up all the same, with what this replica has.
func (s *Server) Backup(req *pb.BackupRequest, stream grpc.ServerStreamingServer[pb.BackupResponse]) error {
	ctx := stream.Context()
	head, err := s.backupHead(req.GetRecipients())
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, backupNote)
	defer cancel()
	if _, err := s.note(short, "backup", "region "+s.Self.Region, "taken on "+s.Self.Name); err != nil {
		s.Log.Warn("a backup is made without the region's agreement and may lack its last changes", "error", err)
	}
	parts := &partWriter{stream: stream, digest: sha256.New(), region: s.regionRecord()}
	if _, err := parts.Write(head); err != nil {
		return err
	}
	if _, err := s.Raft.Backup(ctx, parts); err != nil {
		return refused(err)
	}
	return parts.finish()
}

// maxBackupRecipients bounds who a backup is sealed to.
const maxBackupRecipients = 16

func (s *Server) backupHead(recipients []string) ([]byte, error) {
	if len(recipients) > maxBackupRecipients {
		return nil, status.Errorf(codes.InvalidArgument, "expected at most %d recipients, found %d", maxBackupRecipients, len(recipients))
	}
	for _, r := range recipients {
		if err := identity.ValidateRecipient(r); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "recipient: %v; expected the public half of an age key, such as the one that federator init prints", err)
		}
	}
	head, err := s.BackupHead(recipients)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return head, nil
}

// regionRecord is the own region's entry in the registry, or what is known of it
// while the registry is not.
func (s *Server) regionRecord() *pb.Region {
	if record := s.registry()[s.Self.Region]; record != nil {
		return replication.RegionToPB(record)
	}
	var about state.About
	s.Raft.Read(func(st *state.State) { about = st.About() })
	return replication.RegionToPB(&catalog.Region{Name: about.Region, Epoch: about.Epoch, Founder: about.Founder, Authority: about.Authority, Since: about.Founded})
}

// partWriter cuts an archive into messages.
type partWriter struct {
	stream interface {
		Send(*pb.BackupResponse) error
	}
	digest hash.Hash
	region *pb.Region // until it is sent
	buffer []byte
}

// Write implements io.Writer.
func (w *partWriter) Write(b []byte) (int, error) {
	written := len(b)
	w.digest.Write(b)
	for len(b) > 0 {
		n := min(len(b), backupPart-len(w.buffer))
		w.buffer = append(w.buffer, b[:n]...)
		b = b[n:]
		if len(w.buffer) < backupPart {
			break
		}
		if err := w.send(&pb.BackupResponse{Data: w.buffer}); err != nil {
			return 0, err
		}
		w.buffer = nil // the message keeps it
	}
	return written, nil
}

func (w *partWriter) send(part *pb.BackupResponse) error {
	part.Region, w.region = w.region, nil
	return w.stream.Send(part)
}

// finish sends the rest and the digest.
func (w *partWriter) finish() error {
	return w.send(&pb.BackupResponse{Data: w.buffer, Sha256: w.digest.Sum(nil)})
}
