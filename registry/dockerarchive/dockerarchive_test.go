package dockerarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

const config = `{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/a","<"]}}`

func image(layers ...string) Image {
	img := Image{Name: "docker.io/library/hello", Tag: "1.0", Config: []byte(config)}
	for _, l := range layers {
		img.Layers = append(img.Layers, layerOf([]byte(l)))
	}
	return img
}

// listing has a line for each member: what is in its header, and the bytes of those that are short.
func listing(t *testing.T, archive []byte) string {
	t.Helper()
	var b strings.Builder
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.Format != tar.FormatUSTAR {
			t.Errorf("%s: header %+v", h.Name, h)
		}
		fmt.Fprintf(&b, "%c %04o %s %s%s\n", h.Typeflag, h.Mode, h.Name, h.Linkname, content)
	}
}

func TestLayout(t *testing.T) {
	var b bytes.Buffer
	if err := Write(t.Context(), &b, image("lower", "upper", "lower")); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/layout.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, b.Bytes()); got != string(want) {
		t.Errorf("archive has\n%swant\n%s", got, want)
	}
	end := make([]byte, 1024)
	if b.Len()%512 != 0 || !bytes.HasSuffix(b.Bytes(), end) || bytes.HasSuffix(b.Bytes()[:b.Len()-512], end) {
		t.Error("the end is not two blocks of zeros")
	}
}

func TestInvalid(t *testing.T) {
	short, long, noName, noTag, noConfig := image("a"), image("a"), image("a"), image("a"), image("a")
	short.Layers[0].Size++
	long.Layers[0].Size--
	noName.Name, noTag.Tag, noConfig.Config = "", "", []byte("[]")
	for name, img := range map[string]Image{"short layer": short, "long layer": long, "no name": noName, "no tag": noTag, "no object": noConfig} {
		if err := Write(t.Context(), io.Discard, img); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLayerThatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	img := image("a", "b")
	img.Layers[1].Open = func() (io.ReadCloser, error) { return nil, broken }
	err := Write(t.Context(), io.Discard, img)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "layer 2 of 2 ("+img.Layers[1].DiffID.String()+")") {
		t.Errorf("Open fails: %v", err)
	}
}

// closing is a layer that knows whether it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	img := image("a")
	c := &closing{Reader: strings.NewReader("a")}
	img.Layers[0].Open = func() (io.ReadCloser, error) {
		cancel()
		return c, nil
	}
	if err := Write(ctx, io.Discard, img); !errors.Is(err, context.Canceled) {
		t.Errorf("ended while it writes: %v", err)
	}
	if !c.closed {
		t.Error("layer is not closed")
	}
}

// full is a disk with room for so many bytes.
type full struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errFull
	}
	f.left -= len(p)
	return f.Buffer.Write(p)
}

// ustar has no room for a size from 8 GiB on.
func TestLayerOfEightGibibytes(t *testing.T) {
	img := image("a")
	img.Layers[0].Size = 8 << 30
	disk := &full{left: 4 << 10}
	if err := Write(t.Context(), disk, img); err == nil {
		t.Error("a layer of 8 GiB went into 4 KiB")
	}
	if !strings.Contains(disk.String(), "19 size=8589934592\n") {
		t.Errorf("no PAX record of the size:\n%q", disk.String())
	}
}
