package federation

import (
	"context"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
)

// A token lets in one replica; its key may retry that, and nothing else.
func TestATokenThatWasUsedLetsNothingElseInWithTheSameKey(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	p := place(t, "us-west", "b")
	dir, replica, keys, err := p.prepare()
	if err != nil {
		t.Fatal(err)
	}
	caKey, err := dir.foundingKey(keys.seal)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tok := west.invite(t)
	joiner := &enroll.Joiner{Now: time.Now}
	join := func(region, name, cluster string) error {
		replica.Region, replica.Name, replica.Cluster = region, name, cluster
		names, ips := sanOf(replica)
		res, err := joiner.Join(ctx, tok, enroll.Request{Replica: replica, Key: keys.source.Signer(), IntermediateKey: caKey, DNSNames: names, IPs: ips})
		if err == nil && len(res.Chain) > 0 {
			if id, err := west.verifier.VerifyChain(res.Chain, time.Now()); err == nil {
				t.Log("a certificate of ", id)
			}
		}
		return err
	}
	if err := join("us-west", "b", "us-west-1"); err != nil {
		t.Fatal(err)
	}
	if err := join("us-west", "c", "us-west-1"); err == nil {
		t.Errorf("the same token certified another name too; on record: %v", west.regionRecord("us-west") != nil)
	} else {
		t.Log(err)
	}
	if err := join("mars", "b", "mars-1"); err == nil {
		t.Error("the same token founded a region too: ", west.regionRecord("mars"))
	} else {
		t.Log(err)
	}
	_ = identity.KeyID{}
}
