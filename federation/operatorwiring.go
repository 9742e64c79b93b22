package federation

import "github.com/federator/federator/peering/pb"

func (r *Replica) operatorServer() pb.OperatorServer { return pb.UnimplementedOperatorServer{} }
