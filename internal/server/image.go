package server

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
)

// Image names an image by either tag or digest.
type Image struct {
	Repositories []string // readings of the name, the likeliest first
	Tag          string
	Digest       v1.Hash
}

// ParseTagged parses NAME or NAME:TAG, as people type it. A first component that can only be a server's address is dropped. One
// that may be a package as well ("python3.11") gives both readings, the whole name first.
func ParseTagged(s string) (image Image, err error) {
	if strings.Contains(s, "@") {
		if name, version, _ := strings.Cut(s, "@"); oci.IsTag(version) {
			return image, fmt.Errorf("image %.300q: did you mean %.300s:%s?", s, name, version)
		}
		return image, fmt.Errorf("image %.300q: want a tag, not a digest", s)
	}
	if _, name, ok := strings.Cut(s, "://"); ok {
		return image, fmt.Errorf("image %.300q: write the name alone: %.300s", s, name)
	}
	repository, tag, tagged := oci.SplitTag(s)
	if !tagged {
		tag = oci.Latest
	}
	image = Image{Repositories: []string{repository}, Tag: tag}
	if host, rest, ok := strings.Cut(repository, "/"); ok {
		switch {
		case host == "localhost" || strings.Contains(host, ":"):
			image.Repositories = []string{rest}
		case strings.Contains(host, "."):
			image.Repositories = append(image.Repositories, rest)
		}
	}
	if image.Repositories[0] == "" || tag == "" {
		return Image{}, fmt.Errorf("image %.300q: want NAME or NAME:TAG", s)
	}
	return image, nil
}

// ParseImage parses NAME, NAME:TAG or NAME@DIGEST; NAME is that of [ParseTagged].
func ParseImage(s string) (Image, error) {
	name, text, byDigest := strings.Cut(s, "@")
	if !byDigest {
		return ParseTagged(s)
	}
	digest, err := v1.NewHash(text)
	if err != nil || digest.Algorithm != "sha256" {
		return Image{}, fmt.Errorf("image %.300q: want @sha256: and 64 hex digits", s)
	}
	image, err := ParseTagged(name)
	if err != nil {
		return Image{}, err
	}
	if _, _, tagged := oci.SplitTag(name); tagged {
		return Image{}, fmt.Errorf("image %.300q: want a tag or a digest, not both", s)
	}
	image.Tag, image.Digest = "", digest
	return image, nil
}
