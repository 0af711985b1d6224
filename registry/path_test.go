package registry

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/oci"
)

const (
	hex64  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	sha256 = "sha256:" + hex64
	sha512 = "sha512:" + hex64 + hex64
)

func TestParsePath(t *testing.T) {
	long := strings.Repeat("a", oci.MaxName)
	for path, want := range map[string]string{
		"/v2":                                                    "ping",
		"/v2/":                                                   "ping",
		"/v2/_catalog":                                           "catalog",
		"/v2/_%63atalog":                                         "catalog",
		"/v2/hello/manifests/latest":                             "manifest hello latest",
		"/v2/a/b/c/manifests/2.12.1":                             "manifest a/b/c 2.12.1",
		"/v2/h%65llo/m%61nifests/l%61test":                       "manifest hello latest",
		"/v2/a.b_c__d-e---f/manifests/_A.-":                      "manifest a.b_c__d-e---f _A.-",
		"/v2/manifests/manifests/manifests":                      "manifest manifests manifests",
		"/v2/a/tags/list/manifests/x":                            "manifest a/tags/list x",
		"/v2/a/manifests/tags/list":                              "tags a/manifests",
		"/v2/" + long + "/tags/list":                             "tags " + long,
		"/v2/a/tags/list":                                        "tags a",
		"/v2/a/manifests/" + sha256:                              "manifest a " + sha256,
		"/v2/a/manifests/sha256%3A" + hex64:                      "manifest a " + sha256,
		"/v2/a/manifests/sha256%3a" + hex64:                      "manifest a " + sha256,
		"/v2/a/blobs/" + sha256:                                  "blob a " + sha256,
		"/v2/a/blobs/" + sha512:                                  "blob a " + sha512,
		"/v2/a/referrers/" + sha256:                              "referrers a " + sha256,
		"/v2/a/manifests/" + tagOf(oci.MaxTag):                   "manifest a " + tagOf(oci.MaxTag),
		"/v2/a/manifests/" + tagOf(oci.MaxTag+1):                 "TAG_INVALID",
		"/v2/a/manifests/":                                       "TAG_INVALID",
		"/v2/a/manifests/.x":                                     "TAG_INVALID",
		"/v2/a/manifests/-x":                                     "TAG_INVALID",
		"/v2/a/manifests/a+b":                                    "TAG_INVALID",
		"/v2/a/manifests/a%2Fb":                                  "TAG_INVALID",
		"/v2/a/manifests/..":                                     "TAG_INVALID",
		"/v2/a/manifests/a%00":                                   "TAG_INVALID",
		"/v2/a/manifests/sha256:baddigest":                       "DIGEST_INVALID",
		"/v2/a/manifests/md5:" + hex64:                           "DIGEST_INVALID",
		"/v2/a/manifests/x@" + sha256:                            "DIGEST_INVALID",
		"/v2/a/blobs/latest":                                     "DIGEST_INVALID",
		"/v2/a/blobs/" + hex64:                                   "DIGEST_INVALID",
		"/v2/a/blobs/":                                           "DIGEST_INVALID",
		"/v2/a/blobs/sha256:":                                    "DIGEST_INVALID",
		"/v2/a/blobs/" + sha256 + "0":                            "DIGEST_INVALID",
		"/v2/a/blobs/" + strings.ToUpper(hex64):                  "DIGEST_INVALID",
		"/v2/a/blobs/sha256:" + strings.ToUpper(hex64):           "DIGEST_INVALID",
		"/v2/a/blobs/sha512:" + hex64:                            "DIGEST_INVALID",
		"/v2/a/referrers/x":                                      "DIGEST_INVALID",
		"/v2/" + long + "a/tags/list":                            "NAME_INVALID",
		"/v2/" + strings.Repeat("%61", maxPath/3) + "/tags/list": "NAME_INVALID",
		"/v2/" + strings.Repeat("a", maxPath):                    "NAME_INVALID",
		"/v2/tags/list":                                          "NAME_INVALID",
		"/v2/manifests/latest":                                   "NAME_INVALID",
		"/v2//manifests/latest":                                  "NAME_INVALID",
		"/v2/A/manifests/latest":                                 "NAME_INVALID",
		"/v2/-a/manifests/latest":                                "NAME_INVALID",
		"/v2/a-/manifests/latest":                                "NAME_INVALID",
		"/v2/a..b/manifests/latest":                              "NAME_INVALID",
		"/v2/a___b/manifests/latest":                             "NAME_INVALID",
		"/v2/a._b/manifests/latest":                              "NAME_INVALID",
		"/v2/a-_b/manifests/latest":                              "NAME_INVALID",
		"/v2/a/../b/manifests/latest":                            "NAME_INVALID",
		"/v2/a/./b/manifests/latest":                             "NAME_INVALID",
		"/v2/a//b/manifests/latest":                              "NAME_INVALID",
		"/v2/a/%2e%2e/b/manifests/latest":                        "NAME_INVALID",
		"/v2/a/%2E%2e/b/manifests/latest":                        "NAME_INVALID",
		"/v2/a/%252e%252e/b/manifests/latest":                    "NAME_INVALID",
		"/v2/a%2fb/manifests/latest":                             "NAME_INVALID",
		"/v2/a%2Fmanifests%2Flatest":                             "NAME_INVALID",
		"/v2/a%5cb/manifests/latest":                             "NAME_INVALID",
		"/v2/a%00/manifests/latest":                              "NAME_INVALID",
		"/v2/a%zz/manifests/latest":                              "NAME_INVALID",
		"/v2/a%":                                                 "NAME_INVALID",
		"/v2/%c3%a4/manifests/latest":                            "NAME_INVALID",
		"/v2/../_catalog":                                        "NAME_INVALID",
		"/v2//_catalog":                                          "NAME_INVALID",
		"/v2/..":                                                 "NAME_INVALID",
		"/v2//":                                                  "NAME_INVALID",
		"/v2/%2e%2e/":                                            "NAME_INVALID",
		"":                                                       "UNSUPPORTED",
		"/":                                                      "UNSUPPORTED",
		"//v2/a/manifests/latest":                                "UNSUPPORTED",
		"/v1/a/manifests/latest":                                 "UNSUPPORTED",
		"/v2/a":                                                  "UNSUPPORTED",
		"/v2/_catalog/":                                          "UNSUPPORTED",
		"/v2/a/blobs/uploads/":                                   "UNSUPPORTED",
		"/v2/a/tags/other":                                       "UNSUPPORTED",
	} {
		rt, err := parsePath(path)
		if got := describe(rt, err); got != want {
			t.Errorf("%q: got %q, want %q (%v)", path, got, want, err)
		}
		if err != nil && rt != (route{}) {
			t.Errorf("%q: error with the route %+v", path, rt)
		}
	}
}

func tagOf(n int) string { return strings.Repeat("t", n) }

// describe is the code of an error, or the words of a route.
func describe(rt route, err error) string {
	var f *failure
	if errors.As(err, &f) {
		return errorTable[f.code].code
	}
	if err != nil {
		return "not a failure: " + err.Error()
	}
	words := []string{[]string{"", "ping", "manifest", "blob", "tags", "catalog", "referrers"}[rt.kind]}
	for _, s := range []string{rt.repository, rt.tag, strings.Trim(rt.digest.String(), ":")} {
		if s != "" {
			words = append(words, s)
		}
	}
	return strings.Join(words, " ")
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/manifests/latest", "/v2/a/b/blobs/" + sha256, "/v2/a/tags/list",
		"/v2/a/referrers/" + sha512, "/v2/a%2f..%2fb/manifests/x", "/v2//a/../manifests/%2e%2e", "/v2/%",
	} {
		f.Add(s)
	}
	repository := regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tag := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digest := regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
	f.Fuzz(func(t *testing.T, path string) {
		rt, err := parsePath(path)
		if err != nil {
			var fail *failure
			if !errors.As(err, &fail) {
				t.Fatalf("%q: %v is not a failure", path, err)
			}
			return
		}
		named := rt.kind != ping && rt.kind != catalog
		if named != (rt.repository != "") || named && (!repository.MatchString(rt.repository) || len(rt.repository) > 255) {
			t.Fatalf("%q: repository %q", path, rt.repository)
		}
		if rt.tag != "" && !tag.MatchString(rt.tag) {
			t.Fatalf("%q: tag %q", path, rt.tag)
		}
		if rt.digest.Hex != "" && !digest.MatchString(rt.digest.String()) {
			t.Fatalf("%q: digest %q", path, rt.digest)
		}
		if rt.kind == manifest && (rt.tag == "") == (rt.digest.Hex == "") {
			t.Fatalf("%q: neither a tag nor a digest, or both: %+v", path, rt)
		}
	})
}

// TestUpperCase: the answer to a name in upper case has the one that would work.
func TestUpperCase(t *testing.T) {
	for path, want := range map[string]string{
		"/v2/Hello/manifests/latest": `repository name "Hello" has upper case letters: did you mean hello?`, "/v2/Git/Hello/tags/list": "did you mean git/hello?",
		"/v2/Hello!/manifests/latest": `repository name "Hello!" has the illegal component "Hello!"`,
	} {
		if _, err := parsePath(path); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
