package server

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixreg/nixreg/internal/fakenix"
)

const (
	patience = time.Minute      // bounds every wait for a condition; nothing depends on how long things take below it
	wait     = 20 * time.Second // of clients
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nix": fakenix.Nix, "nix-store": fakenix.NixStore})
}
