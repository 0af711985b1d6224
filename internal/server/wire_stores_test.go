package server

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// TestTrust: whose signatures count in which cache.
func TestTrust(t *testing.T) {
	const own, flag = "own:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=", "flag:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
	for _, tt := range []struct {
		name    string
		u       storeURL
		flags   []string
		want    string
		trusted bool
	}{
		{"https://cache.nixos.org", storeURL{}, nil, nixosKey, false},
		{"https://cache.nixos.org", storeURL{}, []string{flag}, flag + " " + nixosKey, false},
		{"https://cache.nixos.org", storeURL{foreign: true}, nil, "", false},
		{"http://cache.nixos.org", storeURL{}, nil, "", false},
		{"https://cache.nixos.org/x", storeURL{}, nil, "", false},
		{"https://a", storeURL{keys: []string{own}}, []string{flag}, own + " " + flag, false},
		{"https://a", storeURL{trusted: true}, nil, "", true},
	} {
		flags, err := parseKeys(tt.flags...)
		if err != nil {
			t.Fatal(err)
		}
		o := &opener{config: &Config{TrustedKeys: flags}}
		opts, err := o.trust(tt.u, tt.name)
		var keys []string
		for _, k := range opts.Keys {
			keys = append(keys, k.String())
		}
		if got := strings.Join(keys, " "); err != nil || got != tt.want || opts.Trusted != tt.trusted {
			t.Errorf("%s %+v: keys %q, trusted %v, %v", tt.name, tt.u, got, opts.Trusted, err)
		}
	}
}

// TestGivenTwice: a store is opened once, and who gave it other keys the second time is told that they would not count.
func TestGivenTwice(t *testing.T) {
	one := storeURL{url: "https://a", keys: []string{"one"}}
	other, ofNix := one, one
	other.trusted = true
	ofNix.keys, ofNix.foreign = []string{"two"}, true
	for _, tt := range []struct {
		name          string
		first, second storeURL
		fails         bool
		warnings      int
	}{
		{"the same", one, one, false, 0},
		{"nothing more", one, storeURL{url: "https://a"}, false, 0},
		{"other parameters", one, other, true, 0},
		{"Nix's configuration behind", one, ofNix, false, 1},
		{"Nix's configuration in front", ofNix, one, false, 1},
	} {
		var log strings.Builder
		o := &opener{seen: make(map[string]opened), log: slog.New(slog.NewTextHandler(&log, nil))}
		if taken, err := o.taken("https://a", tt.first); taken || err != nil {
			t.Errorf("%s: the first: %t, %v", tt.name, taken, err)
		}
		taken, err := o.taken("https://a", tt.second)
		if !taken || (err != nil) != tt.fails || strings.Count(log.String(), "given twice") != tt.warnings {
			t.Errorf("%s: %t, %v, log %q", tt.name, taken, err, &log)
		}
	}
}

// TestDefaultChannel: where the cache of nixpkgs stands in for a store, its names come with it.
func TestDefaultChannel(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel() // so that nobody is asked
	for _, tt := range []struct {
		given     []string
		defaulted bool
		want      []string
	}{
		{nil, true, []string{"nixos-unstable"}},
		{nil, false, nil},
		{[]string{"nixos-25.05"}, true, []string{"nixos-25.05"}},
	} {
		p := new(parts)
		err := p.openChannels(ended, &Config{Channels: tt.given}, tt.defaulted, t.TempDir(), slog.New(slog.DiscardHandler))
		var got []string
		for _, c := range p.channels {
			got = append(got, c.Name())
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q, defaulted %v: %q, %v", tt.given, tt.defaulted, got, err)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
}
