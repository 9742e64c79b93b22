package operator

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// Version tells what this replica is.
func (s *Server) Version(context.Context, *pb.VersionRequest) (*pb.VersionResponse, error) {
	common := state.Protocol
	s.Raft.Read(func(st *state.State) { common = st.CommonProtocol() })
	return version(common), nil
}

// Build is the version of this program, as its replica's record tells it to
// people; "" if the toolchain wrote none.
func Build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

// version is what the Go toolchain wrote into this program, and the protocols.
func version(common int) *pb.VersionResponse {
	v := &pb.VersionResponse{
		Version: "unknown", GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		MinProtocol: state.MinProtocol, MaxProtocol: state.Protocol, Protocol: uint32(common),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			v.Commit = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			v.Commit += " (modified)"
		}
	}
	return v
}
