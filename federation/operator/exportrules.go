package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// maxRulesAtOnce bounds the rules of one request.
const maxRulesAtOnce = 200

// ListExportRules lists the export rules by name.
func (s *Server) ListExportRules(ctx context.Context, r *pb.ListExportRulesRequest) (*pb.ListExportRulesResponse, error) {
	objects, err := s.objectsAs(ctx, r.GetConsistent())
	if err != nil {
		return nil, err
	}
	out := &pb.ListExportRulesResponse{}
	refuses := s.refusesByRule()
	for _, o := range living(objects, catalog.KindExportRule) {
		out.Rules = append(out.Rules, exportRuleInfo(o, refuses))
	}
	return out, nil
}

// GetExportRule returns one export rule.
func (s *Server) GetExportRule(ctx context.Context, r *pb.GetExportRuleRequest) (*pb.ExportRuleInfo, error) {
	objects, err := s.objectsAs(ctx, r.GetConsistent())
	if err != nil {
		return nil, err
	}
	o, err := find(objects, catalog.KindExportRule, r.GetName())
	if err != nil {
		return nil, err
	}
	return exportRuleInfo(o, s.refusesByRule()), nil
}

func exportRuleInfo(o *catalog.Object, refuses map[string]uint32) *pb.ExportRuleInfo {
	return &pb.ExportRuleInfo{Name: o.Name, Spec: o.Spec, Meta: metaOf(o), Refuses: refuses[o.Name]}
}

// refusesByRule counts the refused exports that each rule names.
func (s *Server) refusesByRule() map[string]uint32 {
	out := map[string]uint32{}
	for _, refusal := range s.Catalog.Refusals() {
		for _, rule := range refusal.Rules {
			out[rule]++
		}
	}
	return out
}

// exportRules returns the rules that this build can read.
func (s *Server) exportRules() exportRules {
	out := exportRules{}
	for _, o := range living(s.objects(), catalog.KindExportRule) {
		if r, err := catalog.ReadExportRule(o); err == nil {
			out[o.Name] = r
		}
	}
	return out
}

// ApplyExportRules writes export rules, unless they take away what is exported
// now. They are judged by what this replica knows, after it caught up with its
// region.
func (s *Server) ApplyExportRules(ctx context.Context, r *pb.ApplyExportRulesRequest) (*pb.ApplyExportRulesResponse, error) {
	next, err := parseExportRules(r.GetRules())
	if err != nil {
		return nil, err
	}
	if err := s.catchUp(ctx, r.GetDryRun()); err != nil {
		return nil, err
	}
	before := s.exportRules()
	after := maps.Clone(before)
	maps.Copy(after, next)
	effect := effectOn(s.exports(), before, after)
	if beyond := effect.after.Beyond(); len(beyond) > len(effect.before.Beyond()) {
		return nil, invalid("all export rules together may have %d services and clusters, and with these they have more: unite some with '*', or delete others", catalog.MaxExportPatterns)
	}
	out := &pb.ApplyExportRulesResponse{TakesAway: s.refusedExports(effect.taken, effect.after), GivesBack: s.refusedExports(effect.given, effect.before)}
	changed := exportRules{}
	for _, given := range r.GetRules() {
		change := &pb.ExportRuleChange{Name: given.GetName(), Action: s.actionOf(given.GetName(), next[given.GetName()]), Warnings: s.exportRuleWarnings(next[given.GetName()])}
		out.Rules = append(out.Rules, change)
		if change.GetAction() != "unchanged" {
			changed[given.GetName()] = next[given.GetName()]
		}
	}
	order, suffers := stepwise(effect.kept, before, changed)
	if r.GetDryRun() {
		if suffers != nil {
			out.Rules[0].Warnings = append(out.Rules[0].Warnings, noSafeOrder(*suffers, order))
		}
		return out, nil
	}
	return out, s.writeExportRules(ctx, next, order, effect.taken, suffers, r.GetForce())
}

// noSafeOrder says why rules cannot be written one after the other.
func noSafeOrder(suffers export, rules []string) string {
	return fmt.Sprintf("rules are written one by one, and in no order of %s would %s stay exported all the time: have one rule that names it allow all of its clusters",
		strings.Join(most(slices.Sorted(slices.Values(rules)), maxSuggested), ", "), suffers)
}

// writeExportRules writes rules in the order, and confirms those that say what
// they said before.
func (s *Server) writeExportRules(ctx context.Context, next exportRules, order []string, taken []export, suffers *export, force bool) error {
	if err := s.mayTakeAway(ctx, order, taken, suffers, force); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(next)) {
		if slices.Contains(order, name) {
			continue
		}
		key := catalog.ObjectKey{Kind: catalog.KindExportRule, Name: name}
		if err := s.follow(ctx, s.unseen(key)); err != nil {
			return err
		}
	}
	for i, name := range order {
		if _, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindExportRule, Name: name}, next[name]); err != nil {
			if i > 0 {
				return fmt.Errorf("%w; written were %s", err, strings.Join(order[:i], ", "))
			}
			return err
		}
	}
	return nil
}

// mayTakeAway refuses a change that takes exports away, for good or for a moment,
// unless it is forced; then the audit trail has it before it is made.
func (s *Server) mayTakeAway(ctx context.Context, rules []string, taken []export, suffers *export, force bool) error {
	switch {
	case len(taken) == 0 && suffers == nil:
		return nil
	case !force && len(taken) > 0:
		return unmet("TAKES_AWAY", "nothing was changed, because that takes away %s; mend the rules if that is not meant, see it all with --dry-run, or say --force", exportsNamed(taken))
	case !force:
		return unmet("NO_SAFE_ORDER", "nothing was changed: %s; or say --force", noSafeOrder(*suffers, rules))
	}
	detail := "takes away " + exportsNamed(taken)
	if len(taken) == 0 {
		detail = fmt.Sprintf("takes away %s for a moment", *suffers)
	}
	_, err := s.note(ctx, "force-export-rules", string(catalog.KindExportRule)+"/"+strings.Join(most(rules, maxSuggested), ","), detail)
	return err
}

// catchUp brings this replica up to what its region has acknowledged, so that what
// it judges by is not hearsay. A dry run needs no region.
func (s *Server) catchUp(ctx context.Context, dryRun bool) error {
	if dryRun {
		return nil
	}
	if err := s.Proposer.CatchUp(ctx); err != nil {
		return refused(err)
	}
	s.settle(ctx)
	return nil
}

// DeleteExportRule deletes an export rule, unless that takes away what only it
// allowed.
func (s *Server) DeleteExportRule(ctx context.Context, r *pb.DeleteExportRuleRequest) (*pb.DeleteExportRuleResponse, error) {
	if err := s.catchUp(ctx, r.GetDryRun()); err != nil {
		return nil, err
	}
	if _, err := s.object(catalog.KindExportRule, r.GetName()); err != nil {
		return nil, err
	}
	before := s.exportRules()
	after := maps.Clone(before)
	delete(after, r.GetName())
	effect := effectOn(s.exports(), before, after)
	out := &pb.DeleteExportRuleResponse{TakesAway: s.refusedExports(effect.taken, effect.after), GivesBack: s.refusedExports(effect.given, effect.before)}
	if r.GetDryRun() {
		return out, nil
	}
	if err := s.mayTakeAway(ctx, []string{r.GetName()}, effect.taken, nil, r.GetForce()); err != nil {
		return nil, err
	}
	_, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindExportRule, Name: r.GetName()}, nil)
	return out, err
}

// CheckExport says what the rules in force say of a service of a cluster.
func (s *Server) CheckExport(_ context.Context, r *pb.CheckExportRequest) (*pb.CheckExportResponse, error) {
	name, err := catalog.ParseServiceName(r.GetService())
	if err == nil {
		err = catalog.ValidateCluster(r.GetCluster())
	}
	if err != nil {
		return nil, invalid("%v", err)
	}
	out := &pb.CheckExportResponse{Service: name.String(), Cluster: r.GetCluster(), Region: s.regionOf(r.GetCluster())}
	v := s.Catalog.ExportRules().Verdict(out.GetRegion(), r.GetCluster(), name)
	out.Allowed, out.Naming, out.Allowing = !v.Refused(), v.Naming, v.Allowing
	out.Exported = s.Catalog.Set(out.GetRegion(), catalog.SetKey{Cluster: r.GetCluster(), Service: name}) != nil
	return out, nil
}

// regionOf returns the region that a cluster is of; "" if it is not known.
func (s *Server) regionOf(cluster string) string {
	if region := s.Catalog.Conditions().ClusterRegion[cluster]; region != "" {
		return region
	}
	for name, r := range s.registry() { // a cluster is claimed before it is described
		if !r.Removed && slices.Contains(r.Clusters, cluster) {
			return name
		}
	}
	return ""
}

// parseExportRules reads the strict JSON of rules and says what is wrong.
func parseExportRules(given []*pb.ExportRuleInfo) (exportRules, error) {
	if n := len(given); n == 0 || n > maxRulesAtOnce {
		return nil, invalid("expected 1 to %d export rules at once, found %d", maxRulesAtOnce, n)
	}
	out := exportRules{}
	for _, one := range given {
		var r catalog.ExportRule
		if err := strictJSON("export rule "+one.GetName(), one.GetSpec(), &r); err != nil {
			return nil, err
		}
		if errs := catalog.ValidateExportRule(one.GetName(), r); len(errs) > 0 {
			return nil, invalid("export rule %s: %v", one.GetName(), errors.Join(errs...))
		}
		if _, twice := out[one.GetName()]; twice {
			return nil, invalid("export rule %s is given twice", one.GetName())
		}
		if r.Clusters == nil {
			r.Clusters = []string{}
		}
		out[one.GetName()] = r
	}
	return out, nil
}

// actionOf says what writing a rule does to the one of that name.
func (s *Server) actionOf(name string, next catalog.ExportRule) string {
	old, err := s.object(catalog.KindExportRule, name)
	if err != nil {
		return "created"
	}
	was, err := catalog.ReadExportRule(old)
	if err != nil {
		return "changed"
	}
	if was.Clusters == nil {
		was.Clusters = []string{}
	}
	a, err1 := json.Marshal(was)
	b, err2 := json.Marshal(next)
	if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		return "changed"
	}
	return "unchanged"
}

// exportRuleWarnings says which clusters and regions a rule names that nobody
// knows.
func (s *Server) exportRuleWarnings(r catalog.ExportRule) []string {
	if strays := strayClusters(r, s.knownRegions(), s.regionOf); len(strays) > 0 {
		return []string{fmt.Sprintf("not known: %s; it counts once it joins", strings.Join(strays, ", "))}
	}
	return nil
}

// strayClusters returns the clusters and regions that a rule names and nobody
// knows.
func strayClusters(r catalog.ExportRule, regions []string, regionOf func(cluster string) string) []string {
	var out []string
	for _, c := range r.Clusters {
		region, ofRegion := strings.CutPrefix(c, catalog.RegionSelector)
		switch {
		case ofRegion && !slices.Contains(regions, region):
			out = append(out, "region "+region)
		case !ofRegion && !strings.Contains(c, "*") && regionOf(c) == "":
			out = append(out, "cluster "+c)
		}
	}
	return out
}
