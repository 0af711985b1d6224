package main

import (
	"log/slog"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	const waiting = "nixreg: waiting 27 s: the registry wants fewer requests\n"
	const warning = "nixreg: warning: the image is for another platform (platform \"linux/\\x1b[2J\", wanted linux/amd64)\n"
	for quiet, want := range map[bool]string{false: waiting + warning, true: warning} {
		var b strings.Builder
		log := slog.New(&lines{w: &b, quiet: quiet}).With("upstream", "docker.io")
		log.Debug("request is tried again", "in", 27)
		log.Info("waiting 27 s: the registry wants fewer requests")
		log.Warn("the image is for another platform", "platform", "linux/\x1b[2J", "wanted", "linux/amd64")
		if b.String() != want {
			t.Errorf("quiet %v: %q, want %q", quiet, b.String(), want)
		}
	}
}
