package state

import (
	"maps"
	"strings"
	"testing"

	"github.com/federator/federator/federation/catalog"
)

func propertied(p *catalog.Properties) *PutSets {
	cmd := putSet("west-1", "kube", "checkout", "e1")
	cmd.Upserts[0].Properties = p
	cmd.Upserts[0].AffinitySeconds = 60
	return cmd
}

func TestPropertiesNeedTheirProtocolAndASetWithoutThemDoesNot(t *testing.T) {
	for _, c := range []struct {
		properties *catalog.Properties
		want       int
	}{{nil, AffinityProtocol}, {&catalog.Properties{NodeLocal: true}, PropertiesProtocol}} {
		env, err := NewEnvelope(Meta{ID: "x", Time: epoch0}, propertied(c.properties))
		if err != nil || env.Version != c.want {
			t.Errorf("properties %v: expected protocol %d, found %d, %v", c.properties, c.want, env.Version, err)
		}
	}
}

func TestPropertiesAreRefusedWhileAReplicaOfTheRegionDoesNotKnowThem(t *testing.T) {
	said := &catalog.Properties{Labels: map[string]string{"team": "checkout"}, Annotations: map[string]string{"a": "<b>"}, TrafficDistribution: "PreferClose"}
	r := founded(t)
	all := replica("a", "west-1")
	all.MaxProtocol = AffinityProtocol
	r.ok(&UpdateReplica{all})
	r.refuse(propertied(said), ErrProtocol)
	r.ok(propertied(nil))
	all.MaxProtocol = PropertiesProtocol
	r.ok(&UpdateReplica{all})
	r.ok(propertied(said))
	key := propertied(nil).Upserts[0].SetKey
	if got := r.s.Set(key).Properties; !got.Equal(said) || !maps.Equal(got.Labels, said.Labels) || r.s.About().Protocol != PropertiesProtocol {
		t.Fatalf("properties %+v, protocol %d", got, r.s.About().Protocol)
	}
	r.refuse(propertied(&catalog.Properties{Annotations: map[string]string{"a": strings.Repeat("x", catalog.MaxAnnotationBytes+1)}}), ErrInvalid)
	r.refuse(propertied(&catalog.Properties{Labels: map[string]string{"no key": "x"}}), ErrInvalid)
}
