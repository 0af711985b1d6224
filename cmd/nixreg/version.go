package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.stdout, thisVersion())
			return err
		},
	}
}

// thisVersion describes this program by the build information in it.
func thisVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return versionOf(info)
}

// versionOf is the version of the module, of Go, and the platform, and the commit with its time if the go command knew it.
//
// Source: cmd/go, "Build information": Main.Version is "(devel)" or "" without a version; vcs.time is RFC 3339.
func versionOf(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	text := fmt.Sprintf("nixreg %s %s %s/%s", version, info.GoVersion, runtime.GOOS, runtime.GOARCH)
	commit := settings["vcs.revision"]
	if commit == "" {
		return text
	}
	text += " (commit " + commit[:min(12, len(commit))]
	if settings["vcs.modified"] == "true" {
		text += ", modified"
	}
	if at := settings["vcs.time"]; at != "" {
		text += ", " + at
	}
	return text + ")"
}
