package gossip

import (
	"errors"
	"slices"
	"testing"
)

func TestAKeyringRotates(t *testing.T) {
	old, next := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	ring, err := NewKeyring(old)
	if err != nil {
		t.Fatal(err)
	}
	sealed := ring.seal(nil, []byte("hello"), []byte("td"))
	id, err := ring.Install(next)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Remove(KeyID(old)); !errors.Is(err, ErrPrimaryKey) {
		t.Errorf("removing the primary: %v", err)
	}
	if err := ring.Use(id); err != nil {
		t.Fatal(err)
	}
	if got := ring.List(); !slices.Equal(got, []string{id, KeyID(old)}) {
		t.Errorf("list is %v", got)
	}
	if plain, err := ring.open(sealed, []byte("td")); err != nil || string(plain) != "hello" {
		t.Errorf("an old packet: %q, %v", plain, err)
	}
	if err := ring.Remove(KeyID(old)); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.open(sealed, []byte("td")); !errors.Is(err, errUnopened) {
		t.Errorf("a packet of a removed key: %v", err)
	}
	if err := ring.Use("nonsense"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestAKeyringRefusesBadAndTooManyKeys(t *testing.T) {
	if _, err := NewKeyring([]byte("short")); err == nil {
		t.Error("a short key is accepted")
	}
	ring, _ := NewKeyring(make([]byte, 32))
	for i := range byte(20) {
		key := make([]byte, 32)
		key[0] = i
		if _, err := ring.Install(key); err != nil {
			if i < maxKeys {
				t.Errorf("key %d: %v", i, err)
			}
			return
		}
	}
	t.Error("there is no limit")
}
