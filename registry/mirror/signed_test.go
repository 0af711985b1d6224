package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// longTTL is how long the documentation's example believes a tag.
func longTTL(c *Config) { c.TTL = time.Hour }

// lists gives a hub lists of referrers of its own.
func (h *hub) lists() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.referrers = map[string]string{}
}

// refer adds a referrer of subject: to the hub's own list, if it has any, or else to the index under the tag.
func (h *hub) refer(repo string, subject v1.Hash, kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.document(repo, "", types.OCIManifestSchema1, fmt.Sprintf(`{"schemaVersion":2,"artifactType":%q,"subject":{"digest":%q}}`, kind, subject))
	item := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3,"artifactType":%q}`, types.OCIManifestSchema1, d, kind)
	if h.referrers != nil {
		key := repo + "@" + subject.String()
		h.referrers[key] = strings.TrimPrefix(h.referrers[key]+","+item, ",")
		return
	}
	tag := "sha256-" + subject.Hex
	if before, ok := strings.CutSuffix(h.docs[repo+":"+tag].data, "]}"); ok {
		h.document(repo, tag, types.OCIImageIndex, before+","+item+"]}")
		return
	}
	h.document(repo, tag, types.OCIImageIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, types.OCIImageIndex, item))
}

// kinds asks for the artifact types of what refers to a manifest.
func (f *fixture) kinds(t *testing.T, repo string, subject v1.Hash) string {
	t.Helper()
	list, err := f.Referrers(t.Context(), repo, subject)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, d := range list {
		kinds = append(kinds, d.ArtifactType)
	}
	return strings.Join(kinds, " ")
}

// An image that is signed after it was mirrored has its signature within seconds, and what is added later, too: however
// long tags are believed, and however often somebody looked before.
func TestSignedAfterItWasMirrored(t *testing.T) {
	for name, prepare := range map[string]func(*hub){"list": (*hub).lists, "tag": func(*hub) {}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, longTTL)
			prepare(f.hub)
			m, _, _ := f.hub.image("app", "latest", "app")
			mustPull(t, f, "app", "latest", m)
			want := ""
			for _, kind := range []string{"signature", "attestation"} {
				if got := f.kinds(t, "app", m); got != want {
					t.Errorf("before the %s: %q, want %q", kind, got, want)
				}
				f.clock.move(time.Second)
				f.hub.refer("app", m, kind)
				f.clock.move(9 * time.Second)
				if want = strings.TrimSpace(want + " " + kind); f.kinds(t, "app", m) != want {
					t.Errorf("ten seconds after somebody looked: %q, want %q", f.kinds(t, "app", m), want)
				}
			}
			f.clock.move(time.Hour)
			f.hub.Close()
			if got := f.kinds(t, "app", m); got != want {
				t.Errorf("without the upstream: %q, want %q", got, want)
			}
		})
	}
}

// Referrers are asked for once in ten seconds, however many want them, and an index that has not changed is asked for by
// HEAD: registries count each GET of a manifest.
func TestReferrersAreAskedForCheaply(t *testing.T) {
	f := newFixture(t, longTTL)
	m, _, _ := f.hub.image("app", "latest", "app")
	api, tag := "GET app/referrers/"+m.String(), "app/manifests/sha256-"+m.Hex
	f.kinds(t, "app", m)
	wantRequests(t, f, api, "GET "+tag)
	f.hub.refer("app", m, "signature")
	f.clock.move(10 * time.Second)
	for range 3 {
		f.kinds(t, "app", m)
	}
	wantRequests(t, f, api, "GET "+tag)
	for range 2 {
		f.clock.move(10 * time.Second)
		f.kinds(t, "app", m)
		wantRequests(t, f, api, "HEAD "+tag)
	}
	f.hub.refer("app", m, "attestation")
	f.clock.move(10 * time.Second)
	f.kinds(t, "app", m)
	index := digestOf(f.hub.docs["app:sha256-"+m.Hex].data)
	wantRequests(t, f, api, "HEAD "+tag, "GET app/manifests/"+index.String())
}

// A client that looks for the tags of signatures itself finds them as soon.
func TestTagsOfDigestsAgeInSeconds(t *testing.T) {
	subject := digestOf("subject").Hex
	for _, tag := range []string{"sha256-" + subject, "sha256-" + subject + ".sig", "sha256-" + subject + ".att", "sha256-" + subject + ".sbom", "ci-sha256-" + subject + ".sig", "sha512-" + subject} {
		f := newFixture(t, longTTL)
		checkStatus(t, tag, errorOf(f.pull(t, "app", tag)), 404)
		for _, text := range []string{"signed", "signed twice"} {
			d, _, _ := f.hub.image("app", tag, text)
			f.clock.move(10 * time.Second)
			mustPull(t, f, "app", tag, d)
		}
		f.hub.requests()
		f.clock.move(10 * time.Second)
		f.pull(t, "app", tag)
		wantRequests(t, f, "HEAD app/manifests/"+tag)
		f.hub.Close()
		f.clock.move(time.Hour)
		if _, warnings, err := f.pull(t, "app", tag); err != nil || len(warnings) != 1 {
			t.Errorf("%s without the upstream: %v, warnings %q", tag, err, warnings)
		}
	}
}

// Other tags are believed as long as ever.
func TestOtherTagsKeepTheirAge(t *testing.T) {
	for _, tag := range []string{"latest", "sha256", "sha256-", "sha256-abc", digestOf("x").Hex, "v1-" + digestOf("x").Hex[:40]} {
		f := newFixture(t, longTTL)
		d, _, _ := f.hub.image("app", tag, "app")
		mustPull(t, f, "app", tag, d)
		f.hub.requests()
		f.clock.move(time.Hour - 1)
		mustPull(t, f, "app", tag, d)
		wantRequests(t, f)
	}
}

// That there is nothing is believed for seconds, however the upstream says it.
func TestNothingIsBelievedForSeconds(t *testing.T) {
	f := newFixture(t, longTTL)
	f.hub.tags["app"] = []string{}
	if tags, err := f.Tags(t.Context(), "app"); err != nil || len(tags) != 0 {
		t.Fatalf("%q, %v", tags, err)
	}
	f.hub.tags["app"] = []string{"v1"}
	f.clock.move(10 * time.Second)
	if tags, err := f.Tags(t.Context(), "app"); err != nil || !slices.Equal(tags, []string{"v1"}) {
		t.Errorf("tags of a repository that was empty: %q, %v", tags, err)
	}

	f.hub.failWith(http.StatusNotFound, "Retry-After", "3600")
	checkStatus(t, "tag", errorOf(f.pull(t, "app", "v1")), 404)
	checkStatus(t, "tags of another one", second(f.Tags(t.Context(), "other")), 404)
	f.hub.fail(nil)
	m, _, _ := f.hub.image("app", "v1", "app")
	f.hub.tags["other"] = []string{"v2"}
	f.clock.move(10 * time.Second)
	mustPull(t, f, "app", "v1", m)
	if tags, err := f.Tags(t.Context(), "other"); err != nil || len(tags) != 1 {
		t.Errorf("tags of a repository that was not there: %q, %v", tags, err)
	}
}

// A shorter ttl than that of signatures counts for them, too.
func TestShortTTL(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TTL = time.Second })
	m, _, _ := f.hub.image("app", "latest", "app")
	f.hub.refer("app", m, "signature")
	f.kinds(t, "app", m)
	f.hub.refer("app", m, "attestation")
	f.clock.move(time.Second)
	if got := f.kinds(t, "app", m); got != "signature attestation" {
		t.Errorf("referrers %q", got)
	}
}

// What stands under the tag and is no index of referrers lists nothing.
func TestTagThatListsNothing(t *testing.T) {
	for name, add := range map[string]func(h *hub, tag string){
		"manifest":         func(h *hub, tag string) { h.image("app", tag, "app") },
		"list of Docker's": func(h *hub, tag string) { h.document("app", tag, types.DockerManifestList, `{"manifests":[]}`) },
		"no document":      func(h *hub, tag string) { h.document("app", tag, "application/x", `{}`) },
	} {
		f := newFixture(t)
		add(f.hub, "sha256-"+digestOf("subject").Hex)
		if got, err := f.Referrers(t.Context(), "app", digestOf("subject")); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	f := newFixture(t)
	f.hub.document("app", "sha256-"+digestOf("subject").Hex, types.OCIImageIndex, `[]`)
	checkStatus(t, "an index that is none", second(f.Referrers(t.Context(), "app", digestOf("subject"))), 502)
	f = newFixture(t)
	f.hub.fail(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	checkStatusOnly(t, second(f.Referrers(t.Context(), "app", digestOf("subject"))), 403)
}

// A list of which there is a copy waits for an upstream that hangs once, not each time somebody asks.
func TestListWaitsForAHangingUpstreamOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &hanging{}
		m, cache := newHanging(t, up)
		if _, err := m.Tags(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(defaultTTL)
		up.hang = true
		for i := range 3 {
			begun := time.Now()
			if tags, err := m.Tags(t.Context(), "app"); err != nil || len(tags) != 1 {
				t.Errorf("%q, %v", tags, err)
			}
			if took := time.Since(begun); took != map[bool]time.Duration{true: copyWait}[i == 0] {
				t.Errorf("look %d took %v", i, took)
			}
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if _, err := m.Tags(ended, "other"); !errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("who left: %v", err)
		}
		m.Close()
		cache.Close()
	})
}
