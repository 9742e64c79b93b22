package federation

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	kubeimports "github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/intents"
)

func TestTheKubernetesSectionIsValidated(t *testing.T) {
	for name, c := range map[string]struct {
		yaml, wrong string
	}{
		"in a pod":               {"{enabled: true}", ""},
		"elsewhere":              {"{enabled: true, kubeconfig: /k, context: eu-central}", ""},
		"off":                    {"{}", ""},
		"another namespace":      {"{enabled: true, namespace: mesh}", ""},
		"a namespace of no name": {"{enabled: true, namespace: Mesh}", "kubernetes.namespace"},
		"a life too short":       {"{enabled: true, svidLifetime: 1m}", "kubernetes.svidLifetime: expected 5m0s to 24h0m0s"},
		"a life too long":        {"{svidLifetime: 25h}", "kubernetes.svidLifetime: expected 5m0s to 24h0m0s"},
		"a path and not enabled": {"{kubeconfig: /k}", "kubernetes.enabled: expected true"},
		"a context of no file":   {"{enabled: true, context: eu-central}", "kubernetes.context: expected kubernetes.kubeconfig"},
		"an unknown key":         {"{enable: true}", "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agent.yaml")
			if err := os.WriteFile(path, []byte("dataDir: /d\nkubernetes: "+c.yaml+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			config, err := LoadConfig(path)
			if err == nil {
				err = config.WithDefaults().Validate()
			}
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
}

func TestAllThatIsWrittenIntoAClusterIsAtMost200WritesASecond(t *testing.T) {
	// That each keeps to its own is tested beside it.
	if sum := kubeimports.MostWritesPerSecond + intents.MostWritesPerSecond; sum > 200 {
		t.Errorf("imports %d, policies and drills %d: expected 200 in all, found %d", kubeimports.MostWritesPerSecond, intents.MostWritesPerSecond, sum)
	}
}

// kubeconfigOf writes a kubeconfig for a server.
func kubeconfigOf(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content := `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://` + server + `"}}]
users: [{name: u, user: {token: t}}]
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAReplicaStartsAndServesWhileItsAPIServerIsAway(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	services := filepath.Join(t.TempDir(), "services.yaml")
	if err := os.WriteFile(services, []byte("services: [{name: shop/web, ports: [{port: 80}], endpoints: [{address: 10.0.0.1}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := place(t, "west", "west-0")
	if _, err := Init(InitOptions{Place: p, TrustDomain: "test.example"}); err != nil {
		t.Fatal(err)
	}
	a := startWith(t, p, Config{Services: services, Kubernetes: Kubernetes{Enabled: true, Kubeconfig: kubeconfigOf(t, nobody)}})
	eventually(t, patience, "the service of the file beside it is there", func() bool {
		return a.catalog.Service(catalog.ServiceName{Namespace: "shop", Name: "web"}) != nil
	})
	eventually(t, patience, "the cluster's record says what is missing, and since when", func() bool {
		var said bool
		a.catalog.Records("west", catalog.RecordCluster, func(r *catalog.Record) bool {
			said = strings.Contains(r.Cluster.SourceError, nobody) && !r.Cluster.StaleSince.IsZero()
			return true
		})
		return said
	})
	if waiting := a.waitingFor(); len(waiting) != 0 {
		t.Errorf("it waits for %q", waiting)
	}
	if id := a.foundation(); !strings.HasPrefix(id, "test.example/") || len(id) != len("test.example/")+16 || strings.ContainsAny(id, " =!") {
		t.Errorf("the federation is identified by %q", id)
	}
}

func TestAnExportIsToldWhatRefusesIt(t *testing.T) {
	name := catalog.ServiceName{Namespace: "shop", Name: "web"}
	self := catalog.Replica{Name: "a", Region: "r", Cluster: "c"}
	rule := func(spec string) catalog.Record {
		return catalog.Record{Object: &catalog.Object{ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: "shops"},
			Version: catalog.ObjectVersion{Generation: 1, Region: "r"}, Spec: []byte(spec)}}
	}
	set := func(cluster, source string) catalog.Record {
		return catalog.Record{Set: &catalog.EndpointSet{SetKey: catalog.SetKey{Cluster: cluster, Service: name}, Source: source}}
	}
	for what, c := range map[string]struct {
		records []catalog.Record
		want    string
	}{
		"nobody exports it yet":                {nil, ""},
		"it is exported":                       {[]catalog.Record{set("c", "kube")}, ""},
		"a rule refuses it":                    {[]catalog.Record{set("c", "kube"), rule(`{"services":["shop/*"],"clusters":["d"]}`)}, "no export rule of the federation allows cluster c to export shop/web; it is named by shops"},
		"a rule refuses another cluster":       {[]catalog.Record{set("c", "kube"), set("d", "kube"), rule(`{"services":["shop/*"],"clusters":["c"]}`)}, ""},
		"another source of the cluster has it": {[]catalog.Record{set("c", "file")}, "the file source of cluster c has a service of this name"},
	} {
		t.Run(what, func(t *testing.T) {
			view := catalog.New("r", "r")
			records := append(c.records, catalog.Record{Cluster: &catalog.Cluster{Name: "c"}}, catalog.Record{Cluster: &catalog.Cluster{Name: "d"}})
			if err := view.Reset(catalog.Snapshot{Region: "r", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: records}, time.Now()); err != nil {
				t.Fatal(err)
			}
			if got := refusal(view, self, name); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("told %q, expected %q", got, c.want)
			}
		})
	}
}

func TestImportsWaitUntilItIsKnownHowFarAwayTheOtherRegionsAre(t *testing.T) {
	near := map[string]time.Duration{"eu": time.Millisecond}
	for what, c := range map[string]struct {
		cond   catalog.Conditions
		others []string
		want   bool
	}{
		"there is no other":                 {catalog.Conditions{}, nil, true},
		"none is measured":                  {catalog.Conditions{}, []string{"eu"}, false},
		"all are measured":                  {catalog.Conditions{RTT: near}, []string{"eu"}, true},
		"one is not":                        {catalog.Conditions{RTT: near}, []string{"eu", "us"}, false},
		"it is silent, and undecided":       {catalog.Conditions{RTT: near, Reach: map[string]catalog.Reach{"us": catalog.Silent}}, []string{"eu", "us"}, false},
		"it is out":                         {catalog.Conditions{RTT: near, Reach: map[string]catalog.Reach{"us": catalog.Out}}, []string{"eu", "us"}, true},
		"only its control plane is lost":    {catalog.Conditions{RTT: near, Reach: map[string]catalog.Reach{"us": catalog.ControlPlaneLost}}, []string{"eu", "us"}, true},
		"nobody answers: the fault is here": {catalog.Conditions{Isolated: true}, []string{"eu", "us"}, true},
	} {
		if got := placed(&c.cond, c.others); got != c.want {
			t.Errorf("%s: found %v, expected %v", what, got, c.want)
		}
	}
}
