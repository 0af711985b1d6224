package mirror

import (
	"net/http"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/registry"
)

// A HEAD asks the upstream for what is not here, and fetches nothing; the size is right in each case.
func TestHead(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	f.hub.requests()
	head := func(d v1.Hash) (int64, error) {
		b, err := f.Blob(t.Context(), registry.BlobRequest{Repository: "app", Digest: d, Head: true})
		if err != nil {
			return 0, err
		}
		return b.Size(), nil
	}
	size, err := head(layer)
	if err != nil || size != int64(len("layer of app")) {
		t.Errorf("cold: %d, %v", size, err)
	}
	_, err = head(digestOf("absent"))
	checkStatus(t, "absent", err, 404)
	wantRequests(t, f, "HEAD app/blobs/"+layer.String(), "HEAD app/blobs/"+digestOf("absent").String())
	mustRead(t, f, "app", layer, "layer of app")
	f.hub.Close()
	if size, err := head(layer); err != nil || size != int64(len("layer of app")) {
		t.Errorf("kept: %d, %v", size, err)
	}
}

// The size of a blob that is being fetched does not wait for its turn, nor for its bytes.
func TestHeadOfWhatIsFetched(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	arrived, release := make(chan struct{}), make(chan struct{})
	f.hub.fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			close(arrived)
			<-release
		}
		return false
	})
	read := make(chan error)
	go func() { read <- second(f.read(t, "app", layer)) }()
	<-arrived
	b, err := f.Blob(t.Context(), registry.BlobRequest{Repository: "app", Digest: layer, Head: true})
	if err != nil || b.Size() != int64(len("layer of app")) {
		t.Errorf("HEAD: %v, %v", b, err)
	}
	close(release)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// An upstream that does not say how large a blob is has it all the same.
func TestHeadWithoutSize(t *testing.T) {
	f := newFixture(t)
	f.hub.image("other", "latest", "app")
	_, config, layer := f.hub.image("app", "latest", "app")
	f.hub.fail(func(_ http.ResponseWriter, r *http.Request) bool { return r.Method == http.MethodHead })
	b, err := f.Blob(t.Context(), registry.BlobRequest{Repository: "app", Digest: layer, Head: true})
	if err != nil || b.Size() != int64(len("layer of app")) {
		t.Errorf("HEAD: %v, %v", b, err)
	}
	mustRead(t, f, "app", config, `{"os":"linux","text":"app"}`)
	mustRead(t, f, "other", config, `{"os":"linux","text":"app"}`)
}
