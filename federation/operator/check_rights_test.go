package operator

import (
	"strings"
	"testing"
	"time"
)

func TestCheckNamesTheRightsThatAreMissing(t *testing.T) {
	v := &view{}
	if found := v.checkRights(); len(found) != 0 {
		t.Errorf("without a cluster: expected nothing, found %+v", found)
	}
	since := time.Now()
	v.rights = []MissingRight{
		{Right: "create events of the core API group", Where: "shop", Role: "ClusterRole federator", Since: since},
		{Right: "list nodes of the core API group", Role: "ClusterRole federator", Since: since},
	}
	found := v.checkRights()
	if len(found) != 2 {
		t.Fatalf("expected two, found %+v", found)
	}
	p := found[0]
	if p.severity != severe || p.code != "kubernetes-rights" || p.subject != "create events of the core API group" || !p.since.Equal(since) ||
		!strings.Contains(p.found, "for shop") || !strings.Contains(p.action, "ClusterRole federator") {
		t.Errorf("found %+v", p)
	}
	if strings.Contains(found[1].found, " for ") {
		t.Errorf("for all: found %+v", found[1])
	}
}
