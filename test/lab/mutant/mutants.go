package mutant

// All returns every mutant, each named for what it does wrong.
func All() []Mutant {
	return []Mutant{
		SkipsWrites(), AnswersFromMemory(), ForgetsAtRestart(), KeepsDeleted(), KeepsDeletedInSnapshots(), IgnoresFlips(),
		NeverRenews(), DropsConnections(), LeaksGoroutines(), OverlooksSilence(), JudgesHastily(),
	}
}

// SkipsWrites acknowledges some writes of objects without doing them.
func SkipsWrites() Mutant {
	return Mutant{
		Name: "skips-writes", File: "federation/state/cmd_objects.go",
		Old: "\tc.replaceObject(old, next, false)\n\treturn next.Version, nil\n",
		New: "\tif old == nil || next.Version.Generation%8 != 0 {\n\t\tc.replaceObject(old, next, false)\n\t}\n\treturn next.Version, nil\n",
		Why: "every eighth version of an object is acknowledged and not written, so that reads go on returning the one before: a history that no single copy could have",
	}
}

// AnswersFromMemory answers consistent reads with what the replica happens to know.
func AnswersFromMemory() Mutant {
	return Mutant{
		Name: "answers-from-memory", File: "federation/operator/objects.go",
		Old: "\tif err := s.Proposer.CatchUp(ctx); err != nil {\n\t\treturn nil, refused(err)\n\t}\n\tvar agreed",
		New: "\tvar agreed",
		Why: "a read that asked to be consistent is answered without asking the leader, so that a follower that lags returns what was overwritten",
	}
}

// ForgetsAtRestart loses the end of the region's log when a replica starts.
func ForgetsAtRestart() Mutant {
	return Mutant{
		Name: "forgets-at-restart", File: "federation/state/disk.go",
		Old: "\tsnaps, err := raft.NewFileSnapshotStoreWithLogger(",
		New: "\tif last, err := store.LastIndex(); err == nil && last > 60 {\n\t\tif err := store.DeleteRange(last-29, last); err != nil {\n\t\t\treturn nil, err\n\t\t}\n\t}\n" +
			"\tsnaps, err := raft.NewFileSnapshotStoreWithLogger(",
		Why: "the last thirty entries of the log, acknowledged ones among them, are gone after a restart",
	}
}

// KeepsDeleted ignores what other regions deleted.
func KeepsDeleted() Mutant {
	return Mutant{
		Name: "keeps-deleted", File: "peering/replication/decode.go",
		Old: "\t\td.Deletes = append(d.Deletes, catalog.RecordKey(k))\n",
		New: "",
		Why: "a change from another region brings what is new and leaves what was deleted, so that the views of two regions differ for good",
	}
}

// KeepsDeletedInSnapshots keeps what a complete snapshot of a region leaves out.
func KeepsDeletedInSnapshots() Mutant {
	return Mutant{
		Name: "keeps-deleted-in-snapshots", File: "federation/catalog/catalog.go",
		Old: "\tc.regions[s.Region] = next\n\tfor i := range s.Records {",
		New: "\tc.regions[s.Region] = next\n\tif old != nil {\n\t\thas := map[RecordKey]bool{}\n\t\tfor i := range s.Records {\n\t\t\thas[s.Records[i].Key()] = true\n\t\t}\n" +
			"\t\tfor k, r := range old.records {\n\t\t\tif !has[k] {\n\t\t\t\ts.Records = append(s.Records, *r)\n\t\t\t}\n\t\t}\n\t}\n\tfor i := range s.Records {",
		Why: "what was deleted while a reader was away is in its view for good once it came back by a complete snapshot",
	}
}

// IgnoresFlips leaves the answers of DNS as they are while an endpoint is unhealthy.
func IgnoresFlips() Mutant {
	return Mutant{
		Name: "ignores-flips", File: "dns/apply.go",
		Old: "\tfactors := s.step(svc, w, now)\n",
		New: "\tif old != nil {\n\t\tfor _, b := range svc.Backends {\n\t\t\tfor _, h := range b.Health {\n\t\t\t\tif h == catalog.Unhealthy {\n\t\t\t\t\treturn\n\t\t\t\t}\n\t\t\t}\n\t\t}\n\t}\n" +
			"\tfactors := s.step(svc, w, now)\n",
		Why: "prepared answers are not made anew when an endpoint fails, so that one known dead is still named",
	}
}

// NeverRenews keeps a certificate until it has expired, and after.
func NeverRenews() Mutant {
	return Mutant{
		Name: "never-renews", File: "identity/renewer.go",
		Old: "\t\tif wait <= 0 {\n\t\t\t_ = r.RenewNow(ctx) // recorded there\n",
		New: "\t\tif wait <= 0 && r.Source.Leaf() == nil {\n\t\t\t_ = r.RenewNow(ctx) // recorded there\n",
		Why: "a replica that has a certificate never gets another one, so that its peers refuse it when that expires",
	}
}

// DropsConnections ends every connection after some seconds.
func DropsConnections() Mutant {
	return Mutant{
		Name: "drops-connections", File: "peering/rpc/server.go",
		Old: "\t\tMaxConnectionAge: time.Hour, MaxConnectionAgeGrace: 5 * time.Minute,\n",
		New: "\t\tMaxConnectionAge: 3 * time.Second, MaxConnectionAgeGrace: time.Second,\n",
		Why: "what was to stay open for an hour is closed every three seconds, as it would be by a renewal that starts its server anew",
	}
}

// LeaksGoroutines starts goroutines that nobody ends.
func LeaksGoroutines() Mutant {
	return Mutant{
		Name: "leaks-goroutines", File: "federation/run.go",
		Old: "\t\t\tr.catalog.Advance(now)\n",
		New: "\t\t\tr.catalog.Advance(now)\n\t\t\tgo func() { <-ctx.Done() }()\n",
		Why: "four goroutines a second stay until the replica stops",
	}
}

// OverlooksSilence makes check blind for regions that do not answer.
func OverlooksSilence() Mutant {
	return Mutant{
		Name: "overlooks-silence", File: "federation/operator/check.go",
		Old: "\t\t{\"reachability of the regions\", (*view).checkReach},\n",
		New: "",
		Why: "check does not look at silent regions, so that a lost region goes unnamed",
	}
}

// JudgesHastily takes a region for silent after a moment.
func JudgesHastily() Mutant {
	return Mutant{
		Name: "judges-hastily", File: "federation/gossip/verdict/verdict.go",
		Old: "\t\tSilence:  2 * time.Second,\n\t\tMinSent:  24,\n",
		New: "\t\tSilence:  300 * time.Millisecond,\n\t\tMinSent:  4,\n",
		Why: "four echoes in a row that are not answered make a region silent, which 20 % loss does all the time",
	}
}
