package federation

import (
	"context"

	"google.golang.org/grpc"

	"github.com/federator/federator/peering/pb"
)

func reviewPropose(ctx context.Context, c *grpc.ClientConn, encoded []byte) (string, error) {
	a, err := pb.NewSiblingsClient(c).Propose(ctx, &pb.ProposeRequest{Command: encoded})
	return a.GetCode(), err
}
