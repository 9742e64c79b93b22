package rpc

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/federator/federator/peering/pb"
)

func TestEveryMethodOfEveryServiceSaysWhoMayCallIt(t *testing.T) {
	found := map[string]bool{}
	pkg := pb.File_federator_v1_operator_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				name := "/" + string(s.FullName()) + "/" + string(s.Methods().Get(j).Name())
				found[name] = true
				if _, ok := methods[name]; !ok {
					t.Errorf("%s: who may call it? Add it to the table in methods.go", name)
				}
			}
		}
		return true
	})
	if len(found) == 0 {
		t.Error("no methods found")
	}
	for name := range methods {
		if !found[name] {
			t.Errorf("%s is in the table but in no service", name)
		}
	}
}

func TestTheSocketServesRootAndTheAgentsOwnUserOnly(t *testing.T) {
	for _, uid := range []int{0, os.Geteuid()} {
		if err := localAdmin(uid); err != nil {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
	if err := localAdmin(os.Geteuid() + 1); err == nil || !strings.Contains(err.Error(), "operator certificate") {
		t.Errorf("another user: expected a refusal that says what to do, found %v", err)
	}
}
