package conformance_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Pulls whose clients have all left hold up nobody, however many there are: of archives that never end, another one is
// answered at once.
func TestAbandonedPullsGiveWay(t *testing.T) {
	const slots = 16                             // that are abandoned, and one more
	for _, wait := range []string{"20s", "1s"} { // with and without hops before the clients leave
		t.Run(wait, func(t *testing.T) {
			t.Parallel()
			f := newForge()
			single := func(name string) (path string) { // with contents of its own
				p := forged{Path: forgedPath(name + "-" + strings.ToLower(rand.Text())), NAR: narDir(narEntry{"data", narFile(name)})}
				f.add(p)
				return p.Path
			}
			var repos []string
			for i := range slots + 1 {
				repos = append(repos, "store/"+hash(single(fmt.Sprint("endless", i))))
			}
			good := single("good")
			u := f.serve(t)
			for path := range f.files {
				if strings.HasPrefix(path, "nar/") && "GET /"+path != f.url(good) {
					u.spoil("GET /"+path, always, hold(nil))
				}
			}
			s := start(t, f.options(u.URL).with("--wait", wait, "--log-level", "debug"))
			ctx, leave := context.WithCancel(t.Context())
			var answers []<-chan *http.Response
			for _, repo := range repos {
				answers = append(answers, s.request(t, ctx, http.MethodGet, repo))
			}
			eventually(t, "as many archives as can be are on their way", func() bool { return u.count("GET /nar/") >= slots })
			if wait == "1s" {
				eventually(t, "all clients have come again", func() bool { return s.hops("/") >= 2*len(repos) })
			}
			leave()
			for _, a := range answers {
				if resp := <-a; resp != nil {
					t.Errorf("a client that left got %s", resp.Status)
				}
			}
			got := s.manifest(t, "store/"+hash(good), "latest") // of all hops, if there are any
			if len(got.Layers) == 0 {
				t.Errorf("%+v", got)
			}
			if wait != "1s" && s.hops("/") != 0 {
				t.Errorf("it was not answered at once: %d hops", s.hops("/"))
			}
		})
	}
}
