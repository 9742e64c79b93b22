package main

import (
	"bytes"
	"testing"

	"github.com/federator/federator/peering/pb"
)

func TestWhatOthersWroteCannotGiveATerminalOrders(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdio: stdio{out: &out}}
	err := a.print(&pb.DrillInfo{}, func(p *printer) {
		p.row("DRILL", "REASON")
		p.row("d1", "\x1b[2J\u009bhidden\nd2\tall is well\x07")
		p.line("reason: %s", "Überlauf\x1b]0;title\x07")
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "DRILL  REASON\nd1     ?[2J?hidden d2 all is well?\nreason: Überlauf?]0;title?\n"
	if out.String() != want {
		t.Errorf("expected %q\nfound    %q", want, out.String())
	}
}
