package registry

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestAccept(t *testing.T) {
	const (
		oci    = "application/vnd.oci.image.manifest.v1+json"
		docker = "application/vnd.docker.distribution.manifest.v2+json"
		index  = "application/vnd.oci.image.index.v1+json"
		none   = ""
	)
	for _, c := range []struct {
		name  string
		lines []string
		want  string // of oci, docker, index
	}{
		{"no header", nil, oci},
		{"empty header", []string{""}, oci},
		{"any", []string{"*/*"}, oci},
		{"one", []string{docker}, docker},
		{"server's order", []string{docker + ", " + oci}, oci},
		{"lines", []string{"text/html", docker, "application/json"}, docker},
		{"letters", []string{strings.ToUpper(docker)}, docker},
		{"white space", []string{" \t" + docker + "\t;\tq=0.5 , "}, docker},
		{"q", []string{oci + ";q=0.5, " + docker + ";q=0.501"}, docker},
		{"q in any letters", []string{oci + ";Q=0.5," + docker}, docker},
		{"q of three decimals", []string{oci + ";q=0.001," + docker + ";q=0.002"}, docker},
		{"q=1.000", []string{oci + ";q=0.9," + docker + ";q=1.000"}, docker},
		{"q=0. and 1.", []string{oci + ";q=0.," + docker + ";q=1."}, docker},
		{"q=0", []string{oci + ";q=0"}, none},
		{"q=0 beside any", []string{oci + ";q=0, */*"}, docker},
		{"any q=0", []string{"*/*;q=0," + index}, index},
		{"wildcard below q", []string{"*/*;q=0.9," + docker + ";q=0.1," + oci + ";q=0.1"}, index},
		{"named before wildcard", []string{"*/*," + index}, index},
		{"named before type wildcard", []string{"application/*", index}, index},
		{"type wildcard", []string{"application/*"}, oci},
		{"type wildcard excludes", []string{"application/*;q=0, */*"}, none},
		{"higher of two", []string{docker + ";q=0.1," + docker + ";q=0.9," + oci + ";q=0.5"}, docker},
		{"other parameters", []string{docker + ";charset=utf-8;q=0.3"}, docker},
		{"nothing fits", []string{"text/html, image/*"}, none},
		{"only rubbish", []string{"rubbish, /, a/, */json, a b/c, a/b/c"}, oci},
		{"rubbish left out", []string{"x, " + docker + ", @/@"}, docker},
		{"bad q left out", []string{oci + ";q=1.001," + oci + ";q=0.0001," + oci + ";q=2," + oci + ";q=-1," + oci + ";q," + docker}, docker},
		{"containerd", []string{docker + ", " + index + ", */*"}, docker},
		{"too many", []string{strings.Repeat("a/b,", maxAcceptRanges) + docker}, none},
		{"too long", []string{"a/b", strings.Repeat(" ", maxAcceptBytes), docker}, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseAccept(c.lines).best(oci, docker, index)
			if string(got) != c.want || ok != (c.want != none) {
				t.Errorf("%q: got %q %t, want %q", c.lines, got, ok, c.want)
			}
		})
	}
	if got, ok := parseAccept(nil).best(); ok {
		t.Errorf("no offers: got %q", got)
	}
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"", "*/*", "a/b;q=0.5, c/*;q=1", "a/b;q=;;,,;q=0", "application/vnd.oci.image.manifest.v1+json"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ranges := parseAccept([]string{a, b})
		if len(ranges) > maxAcceptRanges {
			t.Fatalf("%d ranges", len(ranges))
		}
		for _, m := range ranges {
			if m.q < 0 || m.q > 1000 || m.typ == "" || m.subtype == "" {
				t.Fatalf("range %+v", m)
			}
		}
		offers := []types.MediaType{types.OCIManifestSchema1, "a/b", types.DockerManifestSchema2}
		if got, ok := ranges.best(offers...); ok != slices.Contains(offers, got) {
			t.Fatalf("best is %q, %t", got, ok)
		}
		for _, m := range ranges { // what is named with q=1 leaves none unanswered
			if m.typ == "a" && m.subtype == "b" && m.q == 1000 {
				if _, ok := ranges.best(offers...); !ok {
					t.Fatal("a/b is accepted and offered")
				}
			}
		}
	})
}
