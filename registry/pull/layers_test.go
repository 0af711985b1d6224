package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// tampered is an Upstream whose blobs pass through change.
type tampered struct {
	*golden
	change func(d v1.Hash, r io.Reader) (io.Reader, error)
}

func (u tampered) Blob(ctx context.Context, repo string, d v1.Hash) (io.ReadCloser, error) {
	b, err := u.golden.Blob(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	r, err := u.change(d, b)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

// parts are the digests of the image's configuration and of its layers.
func (g *golden) parts(t *testing.T) (config v1.Hash, layers []v1.Descriptor) {
	t.Helper()
	m, err := v1.ParseManifest(strings.NewReader(g.Manifests[len(g.Manifests)-1].Data))
	if err != nil {
		t.Fatal(err)
	}
	return m.Config.Digest, m.Layers
}

func TestBytesThatAreOthers(t *testing.T) {
	for _, name := range []string{"one-oci", "repeated-plain", "zstd"} {
		config, layers := readGolden(t, name).parts(t)
		for victim, d := range map[string]v1.Hash{"configuration": config, "layer": layers[0].Digest} {
			for how, change := range map[string]func([]byte) []byte{
				"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
				"longer":  func(b []byte) []byte { return append(b, 0) },
				"shorter": func(b []byte) []byte { return b[:len(b)-1] },
				"empty":   func([]byte) []byte { return nil },
			} {
				g := readGolden(t, name)
				_, archive, err := g.pull(t, tampered{g, func(asked v1.Hash, r io.Reader) (io.Reader, error) {
					b, err := io.ReadAll(r)
					if asked == d {
						b = change(slices.Clone(b))
					}
					return bytes.NewReader(b), err
				}})
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), d.String()) || len(archive) > 0 {
					t.Errorf("%s, %s %s: %v, and %d bytes", name, how, victim, err, len(archive))
				}
			}
		}
	}
}

// Other compressed bytes of the same layer are not what the manifest promised.
func TestSameLayerOtherwiseCompressed(t *testing.T) {
	g := readGolden(t, "one-oci")
	_, layers := g.parts(t)
	_, _, err := g.pull(t, tampered{g, func(d v1.Hash, r io.Reader) (io.Reader, error) {
		b, err := io.ReadAll(r)
		if d == layers[0].Digest {
			b = slices.Clone(b)
			b[9] ^= 1 // the operating system in the header of gzip
		}
		return bytes.NewReader(b), err
	}})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "the registry's bytes are those of sha256:") {
		t.Errorf("error is %v", err)
	}
}

// with replaces the image's manifest by one that change made of it.
func (g *golden) with(t *testing.T, change func(*v1.Manifest)) {
	t.Helper()
	last := g.Manifests[len(g.Manifests)-1]
	m, err := v1.ParseManifest(strings.NewReader(last.Data))
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	g.setManifest(types.MediaType(last.MediaType), string(b))
}

func TestLayersThatTheConfigurationDoesNotKnow(t *testing.T) {
	for says, change := range map[string]func(*v1.Manifest){
		"when uncompressed, but sha256:": func(m *v1.Manifest) { slices.Reverse(m.Layers) },
		"lists 6 layers, the manifest 5": func(m *v1.Manifest) { m.Layers = m.Layers[1:] },
		"not one size and DiffID":        func(m *v1.Manifest) { m.Layers[1] = m.Layers[0] },
		"has more bytes than":            func(m *v1.Manifest) { m.Layers[5].Size-- },
		"ends 1 bytes early":             func(m *v1.Manifest) { m.Layers[5].Size++ },
	} {
		g := readGolden(t, "many")
		g.with(t, change)
		if _, _, err := g.pull(t, g); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
}

// setLayer puts bytes in the place of the image's only layer.
func (g *golden) setLayer(t *testing.T, b []byte) {
	t.Helper()
	g.Blobs = append(g.Blobs, b)
	g.with(t, func(m *v1.Manifest) { m.Layers[0].Digest, m.Layers[0].Size = digestOf(b), int64(len(b)) })
}

func TestEncodings(t *testing.T) {
	for name, c := range map[string]struct {
		layer string
		kind  error
		says  string
	}{
		"bzip2":          {"BZh91AY&SY", errors.ErrUnsupported, "bzip2 or xz"},
		"xz":             {"\xfd7zXZ\x00\x00", errors.ErrUnsupported, "bzip2 or xz"},
		"gzip, too soon": {"\x1f\x8b\x08\x00\x00\x00\x00\x00", ErrCorrupt, "gzip: "},
		"zstd, too soon": {"\x28\xb5\x2f\xfd\x04", ErrCorrupt, "zstd: "},
		// A window of 1 GiB: the frame's header has a descriptor 0, and 20<<3 for a window of 2^(10+20) bytes.
		"zstd, far back": {"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00", ErrCorrupt, "zstd: window size exceeded"},
		"short":          {"a", ErrCorrupt, "when uncompressed"},
	} {
		g := readGolden(t, "one-oci")
		g.setLayer(t, []byte(c.layer))
		if _, _, err := g.pull(t, g); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		}
	}
}

// A layer in zstd takes the memory of its window, and hardly more.
func TestMemoryOfAWindow(t *testing.T) {
	// A window of 2^(10+17) bytes, and a last block of one byte as it is.
	const frame = "\x28\xb5\x2f\xfd\x00\x88\x09\x00\x00a"
	var before, after runtime.MemStats
	var b bytes.Buffer
	runtime.ReadMemStats(&before)
	err := uncompress(&b, strings.NewReader(frame))
	runtime.ReadMemStats(&after)
	if err != nil || b.String() != "a" {
		t.Fatalf("%q, %v", b.String(), err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > maxWindow+1<<20 {
		t.Errorf("%d bytes", got)
	}
}

func TestRepeatedLayersComeOnce(t *testing.T) {
	g := readGolden(t, "repeated")
	if _, _, err := g.pull(t, g); err != nil {
		t.Fatal(err)
	}
	if n := len(g.asked); n != 3 {
		t.Errorf("%d blobs were asked for, want a configuration and two layers", n)
	}
}

// Four layers come at the same time, and no more.
func TestLayersComeSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := readGolden(t, "many")
		config, _ := g.parts(t)
		begun, released := make(chan bool, 6), make(chan bool)
		up := tampered{g, func(d v1.Hash, r io.Reader) (io.Reader, error) {
			if d != config {
				begun <- true
				<-released
			}
			return r, nil
		}}
		ended := make(chan error, 1)
		go func() {
			p := Puller{Upstream: up, Dir: t.TempDir()}
			_, err := p.Pull(t.Context(), g.request(t), io.Discard)
			ended <- err
		}()
		synctest.Wait()
		if n := len(begun); n != parallel {
			t.Errorf("%d layers come at the same time, want %d", n, parallel)
		}
		close(released)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// hanging gives a few bytes and then nothing until the context ends.
type hanging struct {
	ctx   context.Context
	begun func()
}

func (h hanging) Read([]byte) (int, error) {
	h.begun()
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

func TestEndOfTheContext(t *testing.T) {
	g := readGolden(t, "many")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config, _ := g.parts(t)
	up := tampered{g, func(d v1.Hash, r io.Reader) (io.Reader, error) {
		if d == config {
			return r, nil
		}
		return io.MultiReader(io.LimitReader(r, 10), hanging{ctx, cancel}), nil
	}}
	p := Puller{Upstream: up, Dir: t.TempDir()}
	if _, err := p.Pull(ctx, g.request(t), io.Discard); !errors.Is(err, context.Canceled) || errors.Is(err, ErrCorrupt) {
		t.Errorf("error is %v", err)
	}
	wantEmpty(t, p.Dir)
}

// What the wire says of a layer is passed on, whatever the decompressor makes of its end.
func TestErrorOfTheWire(t *testing.T) {
	for _, name := range []string{"one-oci", "repeated-plain", "zstd"} {
		g := readGolden(t, name)
		_, layers := g.parts(t)
		broken := errors.New("broken")
		for _, after := range []int64{0, 3, 20} {
			_, _, err := g.pull(t, tampered{g, func(d v1.Hash, r io.Reader) (io.Reader, error) {
				if d != layers[0].Digest {
					return r, nil
				}
				return io.MultiReader(io.LimitReader(r, after), failing{broken}), nil
			}})
			want := fmt.Sprintf("layer 1 of %d (%s): broken", len(layers), layers[0].Digest)
			if !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s, after %d bytes: %v", name, after, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestForeignLayerThatIsElsewhere(t *testing.T) {
	g := readGolden(t, "foreign")
	_, layers := g.parts(t)
	g.with(t, func(m *v1.Manifest) { m.Layers[1].URLs = []string{"https://elsewhere.test/layer"} })
	g.Blobs = slices.DeleteFunc(g.Blobs, func(b []byte) bool { return digestOf(b) == layers[1].Digest })
	_, _, err := g.pull(t, g)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `its bytes are at "https://elsewhere.test/layer"`) {
		t.Errorf("error is %v", err)
	}
}

func TestProgress(t *testing.T) {
	g := readGolden(t, "repeated")
	_, layers := g.parts(t)
	var got, total int64
	first := true
	p := Puller{Upstream: g, Dir: t.TempDir(), Progress: func(done, of int64) {
		if done < got || first && done != 0 {
			t.Errorf("%d bytes came after %d", done, got)
		}
		got, total, first = done, of, false
	}}
	if _, err := p.Pull(t.Context(), g.request(t), io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := layers[0].Size + layers[1].Size; got != want || total != want {
		t.Errorf("%d of %d bytes came, want %d", got, total, want)
	}
}

func TestNoDirectory(t *testing.T) {
	g := readGolden(t, "one-oci")
	p := Puller{Upstream: g, Dir: filepath.Join(t.TempDir(), "absent")}
	if _, err := p.Pull(t.Context(), g.request(t), io.Discard); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		t.Errorf("error is %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	g := readGolden(t, "one-oci")
	full := errors.New("full")
	p := Puller{Upstream: g, Dir: t.TempDir()}
	if result, err := p.Pull(t.Context(), g.request(t), failing{full}); !errors.Is(err, full) || result != nil {
		t.Errorf("%+v, %v", result, err)
	}
	wantEmpty(t, p.Dir)
}

func FuzzUncompress(f *testing.F) {
	for _, name := range []string{"one-oci", "zstd", "gzip-members"} {
		for _, b := range readGolden(f, name).Blobs {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, layer []byte) {
		const most = 1 << 20 // what is limited is not what is fuzzed
		err := uncompress(&limited{left: most}, bytes.NewReader(layer))
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(err)
		}
	})
}

// limited is a disk with room for so many bytes.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, io.ErrShortWrite
	}
	l.left -= len(p)
	return len(p), nil
}
