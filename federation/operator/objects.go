package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// objects returns the winning version of every object that this replica knows of,
// tombstones included, by key: what its region agreed on, which is where its own
// changes are first, and what came from other regions.
func (s *Server) objects() []*catalog.Object {
	best := map[catalog.ObjectKey]*catalog.Object{}
	keep := func(list []*catalog.Object) {
		for _, o := range list {
			if have := best[o.ObjectKey]; have == nil || o.Version.Compare(have.Version) > 0 {
				best[o.ObjectKey] = o
			}
		}
	}
	keep(s.Catalog.Objects())
	s.Raft.Read(func(st *state.State) { keep(st.Objects()) })
	return slices.SortedFunc(maps.Values(best), func(a, b *catalog.Object) int {
		return strings.Compare(a.ObjectKey.String(), b.ObjectKey.String())
	})
}

// living returns the objects of one kind that are not deleted, by name.
func living(objects []*catalog.Object, kind catalog.ObjectKind) []*catalog.Object {
	var out []*catalog.Object
	for _, o := range objects {
		if o.Kind == kind && !o.Deleted {
			out = append(out, o)
		}
	}
	return out
}

// objectsAs returns what this replica knows, or what its region has agreed on,
// with all that was acknowledged before the call. The latter leaves out what other
// regions wrote and the own one has yet to adopt: each replica hears of that at
// another time.
func (s *Server) objectsAs(ctx context.Context, consistent bool) ([]*catalog.Object, error) {
	if !consistent {
		return s.objects(), nil
	}
	if err := s.Proposer.CatchUp(ctx); err != nil {
		return nil, refused(err)
	}
	var agreed []*catalog.Object
	s.Raft.Read(func(st *state.State) { agreed = st.Objects() })
	return agreed, nil
}

// settled sees to it that the region's Raft holds, here, all that was acknowledged
// of an object, and what this replica knows of it from other regions.
func (s *Server) settled(ctx context.Context, key catalog.ObjectKey) error {
	if err := s.Proposer.CatchUp(ctx); err != nil {
		return refused(err)
	}
	return s.follow(ctx, s.unseen(key))
}

// object returns one that is not deleted, or an error with the names there are.
func (s *Server) object(kind catalog.ObjectKind, name string) (*catalog.Object, error) {
	return find(s.objects(), kind, name)
}

// find is [Server.object] among given ones.
func find(objects []*catalog.Object, kind catalog.ObjectKind, name string) (*catalog.Object, error) {
	var names []string
	for _, o := range living(objects, kind) {
		if o.Name == name {
			return o, nil
		}
		names = append(names, o.Name)
	}
	return nil, missing(string(kind), name, names)
}

// write makes a new version of an object, or deletes it if spec is nil, and
// returns it. The write follows every version that this replica knows of, also
// of one that its region has yet to adopt.
func (s *Server) write(ctx context.Context, key catalog.ObjectKey, spec any) (*catalog.Object, error) {
	if err := s.follow(ctx, s.unseen(key)); err != nil {
		return nil, err
	}
	cmd := &state.PutObject{ObjectKey: key, Deleted: spec == nil}
	if spec != nil {
		b, err := json.Marshal(spec)
		if err != nil {
			return nil, refused(err)
		}
		cmd.Spec = b
	}
	result, err := s.propose(ctx, cmd)
	if err != nil {
		return nil, err
	}
	written, err := state.Value[catalog.ObjectVersion](result)
	if err != nil {
		return nil, refused(err)
	}
	return &catalog.Object{ObjectKey: key, Version: written, Spec: cmd.Spec, Deleted: cmd.Deleted, Actor: s.actor(ctx)}, nil
}

// follow has the region adopt a version of another (nil: none). One that it never
// adopts is an error: a write beside it would be acknowledged and lost.
func (s *Server) follow(ctx context.Context, unseen *catalog.Object) error {
	if unseen == nil {
		return nil
	}
	result, err := s.propose(ctx, &state.MergeObjects{Objects: []catalog.Object{*unseen}})
	if err != nil {
		return err
	}
	report, err := state.Value[state.MergeReport](result)
	if err != nil {
		return refused(err)
	}
	if len(report.Refused) > 0 {
		no := report.Refused[0]
		return refused(&state.Error{Code: state.ErrClock.Code, Message: fmt.Sprintf("%s was written last in region %s, and that version is not adopted here: %s", no.ObjectKey, no.Region, no.Reason)})
	}
	return nil
}

// unseen returns the winning version if the own region does not hold it.
func (s *Server) unseen(key catalog.ObjectKey) *catalog.Object {
	var held *catalog.Object
	s.Raft.Read(func(st *state.State) { held = st.Object(key) })
	for _, o := range s.Catalog.Objects() {
		if o.ObjectKey == key && (held == nil || o.Version.Compare(held.Version) > 0) {
			return o
		}
	}
	return nil
}

// metaOf is the version of an object on the wire.
func metaOf(o *catalog.Object) *pb.ObjectMeta {
	return &pb.ObjectMeta{
		Generation: o.Version.Generation, Written: timestamppb.New(time.Unix(0, o.Version.HLC)),
		Region: o.Version.Region, Actor: o.Actor,
	}
}
