package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	vcs := func(revision, time, modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: revision}, {Key: "vcs.time", Value: time}, {Key: "vcs.modified", Value: modified}}
	}
	const commit, at = "0123456789abcdef0123456789abcdef01234567", "2026-12-01T10:00:00Z"
	on := " go1.26.0 " + runtime.GOOS + "/" + runtime.GOARCH
	for _, tt := range []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"", nil, "nixreg devel" + on},
		{"(devel)", nil, "nixreg devel" + on},
		{"v0.1.0", nil, "nixreg v0.1.0" + on}, // by go install
		{"v0.1.0", vcs(commit, at, "false"), "nixreg v0.1.0" + on + " (commit 0123456789ab, 2026-12-01T10:00:00Z)"},
		{"v0.1.1-0.20261201100000-0123456789ab+dirty", vcs(commit, at, "true"),
			"nixreg v0.1.1-0.20261201100000-0123456789ab+dirty" + on + " (commit 0123456789ab, modified, 2026-12-01T10:00:00Z)"},
		{"(devel)", vcs("0123", "", ""), "nixreg devel" + on + " (commit 0123)"},
	} {
		got := versionOf(&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: tt.version}, Settings: tt.settings})
		if got != tt.want {
			t.Errorf("%q, %v:\n%s, want\n%s", tt.version, tt.settings, got, tt.want)
		}
	}
}
