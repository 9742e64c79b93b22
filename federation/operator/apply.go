package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/source"
	"github.com/federator/federator/source/file"
)

const (
	// sourceAPI marks the sets that operators applied.
	sourceAPI = "api"
	// maxDocument bounds a document of services, in bytes.
	maxDocument = 4 << 20
	// maxSetsAtOnce and maxBytesAtOnce bound one command; a large document is
	// written in several, each of which is whole.
	maxSetsAtOnce  = 500
	maxBytesAtOnce = 1 << 20
)

// ApplyServices brings the services of a document into a cluster of the region.
func (s *Server) ApplyServices(ctx context.Context, r *pb.ApplyServicesRequest) (*pb.ApplyServicesResponse, error) {
	cluster, err := s.cluster(r.GetCluster())
	if err != nil {
		return nil, err
	}
	desired, warnings, err := parseServices(r.GetDocument(), cluster)
	if err != nil {
		return nil, err
	}
	previous, err := s.applied(cluster, desired)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, s.refusalWarnings(cluster, desired)...)
	changes := source.Diff(previous, desired, s.Now())
	if !r.GetPrune() {
		changes.Deletes = nil
	}
	out := &pb.ApplyServicesResponse{Changes: serviceChanges(previous, desired, changes), Warnings: warnings}
	if r.GetDryRun() || changes.Empty() {
		return out, nil
	}
	return out, s.putSets(ctx, cluster, changes)
}

// DeleteService deletes a service that was applied.
func (s *Server) DeleteService(ctx context.Context, r *pb.DeleteServiceRequest) (*pb.DeleteServiceResponse, error) {
	cluster, err := s.cluster(r.GetCluster())
	if err != nil {
		return nil, err
	}
	name, err := catalog.ParseServiceName(r.GetService())
	if err != nil {
		return nil, invalid("%v", err)
	}
	var names []string
	for _, set := range s.sets(cluster) {
		if set.Service == name && set.Source != sourceAPI {
			return nil, taken(cluster, []string{name.String()}, set.Source)
		}
		if set.Source == sourceAPI {
			names = append(names, set.Service.String())
		}
	}
	if !slices.Contains(names, name.String()) {
		return nil, missing("an applied service of cluster "+cluster+" named", name.String(), names)
	}
	err = s.putSets(ctx, cluster, source.Changes{Deletes: []catalog.SetKey{{Cluster: cluster, Service: name}}})
	return &pb.DeleteServiceResponse{}, err
}

// cluster finds the cluster that is meant; it must be of this region.
func (s *Server) cluster(name string) (string, error) {
	name = cmp.Or(name, s.Self.Cluster)
	var known []string
	s.Raft.Read(func(st *state.State) {
		for _, c := range st.Clusters() {
			known = append(known, c.Name)
		}
	})
	if slices.Contains(known, name) {
		return name, nil
	}
	if owner := s.Catalog.Conditions().ClusterRegion[name]; owner != "" {
		return "", unmet("OTHER_REGION", "cluster %s is of region %s, and this replica of %s: ask a replica of %s", name, owner, s.Self.Region, owner)
	}
	return "", missing("cluster", name, known)
}

// parseServices reads a document in the format of the services file.
func parseServices(document []byte, cluster string) ([]catalog.EndpointSet, []string, error) {
	if len(document) > maxDocument {
		return nil, nil, invalid("the document may have %d bytes, found %d; split it, or use a services file", maxDocument, len(document))
	}
	services, err := file.Parse(document, cluster)
	if err != nil {
		return nil, nil, invalid("the document is not valid, and nothing was changed:\n%v", err)
	}
	var warnings []string
	if len(services.Prefixes) > 0 {
		warnings = append(warnings, "the clients of the document are ignored: the networks of a cluster are announced by its services file")
	}
	for i := range services.Sets {
		services.Sets[i].Source = sourceAPI
	}
	return services.Sets, warnings, nil
}

func (s *Server) sets(cluster string) []*catalog.EndpointSet {
	var out []*catalog.EndpointSet
	s.Raft.Read(func(st *state.State) {
		for _, set := range st.Sets() {
			if set.Cluster == cluster {
				out = append(out, set)
			}
		}
	})
	return out
}

// applied returns what operators applied to the cluster before, and refuses
// services that another source owns there.
func (s *Server) applied(cluster string, desired []catalog.EndpointSet) ([]catalog.EndpointSet, error) {
	wanted := map[catalog.ServiceName]bool{}
	for i := range desired {
		wanted[desired[i].Service] = true
	}
	var previous []catalog.EndpointSet
	var foreign []string
	owner := ""
	for _, set := range s.sets(cluster) {
		switch {
		case set.Source == sourceAPI:
			previous = append(previous, *set)
		case wanted[set.Service]:
			foreign = append(foreign, set.Service.String())
			owner = set.Source
		}
	}
	if len(foreign) > 0 {
		return nil, taken(cluster, foreign, owner)
	}
	return previous, nil
}

func taken(cluster string, services []string, owner string) error {
	return unmet("SOURCE_TAKEN", "in cluster %s source %q owns %s; change it there, or take it out there first",
		cluster, owner, strings.Join(most(services, maxSuggested), ", "))
}

// refusalWarnings says which services the export rules refuse of the cluster.
func (s *Server) refusalWarnings(cluster string, desired []catalog.EndpointSet) []string {
	rules := s.Catalog.ExportRules()
	var out []string
	for i := range desired {
		if v := rules.Verdict(s.Self.Region, cluster, desired[i].Service); v.Refused() {
			out = append(out, fmt.Sprintf("service %s of cluster %s is refused by %s: nobody is sent to it", desired[i].Service, cluster, rulesNamed(v.Naming)))
		}
	}
	return most(out, maxAlike)
}

// serviceChanges says what becomes of each service.
func serviceChanges(previous, desired []catalog.EndpointSet, c source.Changes) []*pb.ServiceChange {
	existed, upserted := map[catalog.ServiceName]bool{}, map[catalog.ServiceName]bool{}
	for i := range previous {
		existed[previous[i].Service] = true
	}
	for i := range c.Upserts {
		upserted[c.Upserts[i].Service] = true
	}
	var out []*pb.ServiceChange
	for i := range desired {
		action := "unchanged"
		switch name := desired[i].Service; {
		case upserted[name] && existed[name]:
			action = "changed"
		case upserted[name]:
			action = "created"
		}
		out = append(out, &pb.ServiceChange{Service: desired[i].Service.String(), Action: action})
	}
	for _, key := range c.Deletes {
		out = append(out, &pb.ServiceChange{Service: key.Service.String(), Action: "deleted"})
	}
	slices.SortFunc(out, func(a, b *pb.ServiceChange) int { return strings.Compare(a.GetService(), b.GetService()) })
	return out
}

// putSets writes the changes, and a line of the audit trail behind them.
func (s *Server) putSets(ctx context.Context, cluster string, c source.Changes) error {
	var deletes []catalog.ServiceName
	var names []string
	for _, key := range c.Deletes {
		deletes = append(deletes, key.Service)
		names = append(names, "-"+key.Service.String())
	}
	for i := range c.Upserts {
		names = append(names, c.Upserts[i].Service.String())
	}
	for _, part := range batches(c.Upserts) {
		if _, err := s.propose(ctx, &state.PutSets{Cluster: cluster, Source: sourceAPI, Upserts: part}); err != nil {
			return err
		}
	}
	if len(deletes) > 0 {
		if _, err := s.propose(ctx, &state.PutSets{Cluster: cluster, Source: sourceAPI, Deletes: deletes}); err != nil {
			return err
		}
	}
	_, err := s.note(ctx, "apply-services", "cluster "+cluster, fmt.Sprintf("%d written, %d deleted: %s", len(c.Upserts), len(deletes), strings.Join(names, " ")))
	return err
}

// batches splits sets into commands of bounded size.
func batches(sets []catalog.EndpointSet) [][]catalog.EndpointSet {
	var out [][]catalog.EndpointSet
	from, size := 0, 0
	for i := range sets {
		b, err := json.Marshal(&sets[i])
		if err != nil {
			b = nil // the command itself will say so
		}
		if i > from && (i-from >= maxSetsAtOnce || size+len(b) > maxBytesAtOnce) {
			out = append(out, sets[from:i])
			from, size = i, 0
		}
		size += len(b)
	}
	if from < len(sets) {
		out = append(out, sets[from:])
	}
	return out
}
