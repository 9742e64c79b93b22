package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) backupCmd() *cobra.Command {
	request := &pb.BackupRequest{}
	cmd := a.ask("backup FILE", "Write the region's state to a file; secrets in it stay sealed", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			stream, err := agent.Backup(ctx, request)
			if err != nil {
				return nil, nil, err
			}
			region, err := saveBackup(stream.Recv, args[0])
			return region, said("the state of %s is in %s", region.GetName(), args[0]), err
		})
	cmd.Flags().StringSliceVar(&request.Recipients, "recipient", nil, "age recipient whose key can restore the backup on a new machine, such as the one that init prints (repeatable)")
	return cmd
}

// saveBackup writes the parts of a backup to a new file, which it removes again
// unless the backup is complete.
func saveBackup(next func() (*pb.BackupResponse, error), path string) (*pb.Region, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	region, err := copyBackup(next, f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(path) // what matters is why there is no backup
		return nil, err
	}
	return region, nil
}

func copyBackup(next func() (*pb.BackupResponse, error), w io.Writer) (*pb.Region, error) {
	region, digest := &pb.Region{}, sha256.New()
	for {
		part, err := next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the backup was cut short; try again")
		}
		if err != nil {
			return nil, err
		}
		if part.GetRegion() != nil {
			region = part.GetRegion()
		}
		if _, err := io.MultiWriter(w, digest).Write(part.GetData()); err != nil {
			return nil, err
		}
		if len(part.GetSha256()) > 0 {
			return region, sameDigest(part.GetSha256(), digest)
		}
	}
}

func sameDigest(want []byte, digest hash.Hash) error {
	if got := digest.Sum(nil); string(got) != string(want) {
		return fmt.Errorf("the backup is damaged: expected SHA-256 %x, found %x; try again", want, got)
	}
	return nil
}
