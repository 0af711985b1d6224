package export

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Choose finds the image for a platform among those of an index. With nil it is that for Linux on this machine's
// architecture; or else on amd64; or else the only one. None gives an error matching [fs.ErrNotExist] that lists them.
func Choose(index []v1.Descriptor, want *v1.Platform) (v1.Descriptor, error) {
	images := slices.DeleteFunc(slices.Clone(index), func(d v1.Descriptor) bool { return !d.MediaType.IsImage() })
	wanted := []v1.Platform{{OS: "linux", Architecture: runtime.GOARCH}, {OS: "linux", Architecture: "amd64"}}
	if want != nil {
		wanted = []v1.Platform{*want}
	}
	for _, p := range wanted {
		if d, ok := best(images, p); ok {
			return d, nil
		}
	}
	if want == nil && len(images) == 1 {
		return images[0], nil
	}
	names := make([]string, len(images))
	for i, d := range images {
		names[i] = nameOf(d.Platform)
	}
	return v1.Descriptor{}, absent(wanted[0], names)
}

// best is the image for a platform. Where the variant is left open, one without goes before others.
func best(images []v1.Descriptor, want v1.Platform) (v1.Descriptor, bool) {
	found := -1
	for i, d := range images {
		if !fits(d.Platform, want) {
			continue
		}
		if variant(*d.Platform) == variant(want) {
			return d, true
		}
		if found < 0 {
			found = i
		}
	}
	if found < 0 {
		return v1.Descriptor{}, false
	}
	return images[found], true
}

func fits(p *v1.Platform, want v1.Platform) bool {
	return p != nil && p.OS == want.OS && p.Architecture == want.Architecture && (variant(want) == "" || variant(*p) == variant(want))
}

// variant is that of a platform, "" for the one that every arm64 is.
func variant(p v1.Platform) string {
	if p.Architecture == "arm64" && p.Variant == "v8" {
		return ""
	}
	return p.Variant
}

func absent(want v1.Platform, names []string) error {
	text := fmt.Sprintf("no image for %s, only for %s", nameOf(&want), strings.Join(names, ", "))
	return &kindError{text, fs.ErrNotExist}
}

// is reports as an error that an image is one of another platform.
func (img *Image) is(ctx context.Context, want v1.Platform) error {
	config, err := img.config(ctx)
	if err != nil {
		return err
	}
	p := new(v1.Platform)
	if err := json.Unmarshal(config, p); err != nil {
		return fmt.Errorf("config %s: %w: %w", img.Config(), err, fs.ErrInvalid)
	}
	if !fits(p, want) {
		return absent(want, []string{nameOf(p)})
	}
	return nil
}

// nameOf names a platform as people do. It comes from outside.
func nameOf(p *v1.Platform) string {
	if p == nil {
		return "unknown"
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	if quoted := fmt.Sprintf("%.100q", name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// ParsePlatform reads OS/ARCH or OS/ARCH/VARIANT. Errors match [fs.ErrInvalid].
func ParsePlatform(s string) (*v1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return nil, invalid("platform %.100q: want OS/ARCH or OS/ARCH/VARIANT", s)
	}
	p := &v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}
