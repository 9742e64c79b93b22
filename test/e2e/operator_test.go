package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

func TestOperatorsActFromAfarWithinTheirRolesAndAreAudited(t *testing.T) {
	f := newFleet(t)
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")
	f.Until(10*time.Second, "west to know east", func() error { return membersAre(west, "east/east-0", "west/west-0") })
	certificate := func(name, role string) string {
		dir := filepath.Join(f.Dir, name)
		west.CLI("operator", "create", name, "--role", role, "--out", dir).OK(t)
		return dir
	}
	viewer, operator, admin := certificate("vera", "viewer"), certificate("otto", "operator"), certificate("ada", "admin")
	as := func(identity string, r *fleet.Replica, args ...string) fleet.Result {
		return f.Run(append(args, "--address", r.Peer, "--identity", identity)...)
	}
	for _, identity := range []string{viewer, operator, admin} {
		f.Until(10*time.Second, "the role to be known in both regions", func() error {
			for _, r := range []*fleet.Replica{west, east} {
				if said := as(identity, r, "status"); said.Code != 0 {
					return errors.New(said.Err)
				}
			}
			return nil
		})
	}
	as(viewer, east, "evacuate", "west", "--for", "1m").Fails(t, 1, "viewer", "operator")
	as(viewer, east, "token", "create").Fails(t, 1, "viewer")
	as(operator, east, "evacuate", "west", "--for", "1m", "--reason", "practice").OK(t)
	as(operator, east, "evacuate", "west", "--stop").OK(t)
	as(operator, west, "operator", "create", "eve", "--role", "admin", "--out", filepath.Join(f.Dir, "eve")).Fails(t, 1, "operator", "admin")
	if _, err := os.Stat(filepath.Join(f.Dir, "eve")); err == nil {
		t.Error("a refused operator create left its directory")
	}
	as(admin, west, "token", "create").OK(t)

	audited(t, east, "otto", "evacuat", "west", "east-0")
	audited(t, west, "ada", "token", "", "west-0")
	audited(t, west, fmt.Sprintf("uid:%d@west-0", os.Getuid()), "operator", "vera", "west-0")

	west.CLI("operator", "delete", "otto").OK(t)
	f.Until(10*time.Second, "the deleted operator to be refused", func() error {
		if said := as(operator, east, "status"); said.Code != 1 {
			return fmt.Errorf("expected a refusal, found %d %s", said.Code, said.Err)
		}
		return nil
	})
	as(filepath.Join(f.Dir, "nobody"), west, "status").Fails(t, 1, "operator create")
	f.Run("status", "--address", west.Peer).Fails(t, 2, "--identity")
	stranger := fleet.New(t, f.Binary()).Init("west")
	as(admin, stranger, "status").Fails(t, 4, stranger.Peer)
}

// audited checks that a replica's trail has a change by an actor, of an action,
// on a subject, that came over the replica.
func audited(t *testing.T, r *fleet.Replica, actor, action, subject, over string) {
	t.Helper()
	var trail pb.ListAuditResponse
	if err := r.Ask(&trail, "audit"); err != nil {
		t.Fatal(err)
	}
	found := slices.ContainsFunc(trail.GetEntries(), func(e *pb.AuditEntry) bool {
		return strings.Contains(e.GetActor(), actor) && strings.Contains(e.GetAction()+e.GetSubject(), action) && strings.Contains(e.GetSubject()+e.GetDetail(), subject) &&
			e.GetReplica() == over && e.GetOrigin() != "" && time.Since(e.GetTime().AsTime()).Abs() < time.Minute
	})
	if !found {
		t.Errorf("%s: expected %s by %s on %s over %s in the trail, found:\n%s", r, action, actor, subject, over, r.CLI("audit").Out)
	}
}

func TestOtherUsersAreRefusedOnTheSocket(t *testing.T) {
	f := quickFleet(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Getuid() != 0 {
		t.Skip("only root can act as another user, and by setpriv")
	}
	west := f.Init("west")
	west.CLI("status").OK(t)
	// Even if the file system lets them through.
	for dir := west.Dir; strings.HasPrefix(dir, f.Dir); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(f.Dir, "federator")
	b, err := os.ReadFile(f.Binary())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, b, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"--reuid=65534", "--regid=65534", "--clear-groups", binary, "policy", "list", "--socket", west.Sock}
	for _, mode := range []os.FileMode{0o600, 0o666} {
		if err := os.Chmod(west.Sock, mode); err != nil {
			t.Fatal(err)
		}
		refused := f.Exec(exec.Command(setpriv, args...), "")
		if refused.Code == 0 || !strings.Contains(refused.Err, "permission denied") && !strings.Contains(refused.Err, "65534") {
			t.Errorf("socket of mode %v: expected user 65534 to be refused, found %d: %s%s", mode, refused.Code, refused.Err, refused.Out)
		}
	}
}

// spoken is what a command says that succeeds, or that is check: any sibling that is
// late for a second is a finding, and no failure of the command.
func spoken(t *testing.T, r *fleet.Replica, args ...string) fleet.Result {
	t.Helper()
	said := r.CLI(args...)
	if args[0] == "check" && said.Code == 3 {
		return said
	}
	return said.OK(t)
}

func TestEveryCommandThatReadsSpeaksJSONAndCheckSpeaksByItsExitCode(t *testing.T) {
	f := newFleet(t)
	endpoints := map[string][]*fleet.Endpoint{"west": f.Endpoints(2), "east": f.Endpoints(2)}
	for region, e := range endpoints {
		f.Serve(region, fleet.ServicesFile(checkout, e...))
	}
	f.Grow(3, "west", "east")
	f.Voters("west")
	f.Voters("east")
	all := f.Replicas("")
	for region, e := range endpoints {
		f.AnswersAll(20*time.Second, all, checkout, region, e...)
	}
	for _, r := range all {
		f.Until(20*time.Second, r.String()+" to find nothing wrong", func() error {
			if found := r.CLI("check"); found.Code != 0 {
				return fmt.Errorf("exit code %d\n%s%s", found.Code, found.Out, found.Err)
			}
			return nil
		})
	}
	west := all[0]
	apply(f, west, "default", "east").OK(t)
	for _, tt := range []struct {
		answer proto.Message
		args   string
	}{
		{&pb.StatusResponse{}, "status"},
		{&pb.CheckResponse{}, "check"},
		{&pb.MembersResponse{}, "members"},
		{&pb.ServicesResponse{}, "services"},
		{&pb.EndpointsResponse{}, "endpoints shop/checkout"},
		{&pb.ResolveResponse{}, "resolve shop/checkout --from east/a"},
		{&pb.ListAuditResponse{}, "audit"},
		{&pb.ListPoliciesResponse{}, "policy list"},
		{nil, "policy get default"},
		{&pb.ListEvacuationsResponse{}, "evacuate"},
		{&pb.ListTokensResponse{}, "token list"},
		{&pb.ListOperatorsResponse{}, "operator list"},
		{&pb.KeyringStatusResponse{}, "keyring status"},
		{&pb.VersionResponse{}, "version --agent"},
		{&pb.VersionResponse{}, "version"},
	} {
		args := strings.Fields(tt.args)
		said := spoken(t, west, append(args, "-o", "json")...)
		if !json.Valid([]byte(said.Out)) {
			t.Errorf("%s: expected JSON, found %q", tt.args, said.Out)
		}
		if tt.answer != nil {
			if err := protojson.Unmarshal([]byte(said.Out), tt.answer); err != nil {
				t.Errorf("%s: %v", tt.args, err)
			}
		}
		if text := spoken(t, west, args...); strings.TrimSpace(text.Out) == "" {
			t.Errorf("%s: expected a text", tt.args)
		}
	}
	for service, code := range map[string]int{"shop/none": 1, "none": 2} { // the latter is no name at all
		for _, command := range []string{"resolve", "endpoints"} {
			west.CLI(command, service).Fails(t, code, service)
		}
	}
	f.Run("status", "--socket", filepath.Join(f.Dir, "none")).Fails(t, 4, "no agent answers", "federator agent")
	f.Run("nonsense").Fails(t, 2, "nonsense")

	all[1].Kill()
	f.Until(10*time.Second, "check to find the dead replica", func() error {
		found := west.CLI("check")
		if found.Code != 3 || !strings.Contains(found.Out, "replica-dead") || !strings.Contains(found.Out, all[1].Name) {
			return fmt.Errorf("exit code %d\n%s", found.Code, found.Out)
		}
		return nil
	})
}
