package main

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/server"
)

// imageNames takes an image's name apart as people type it. A first component that can only be a server's address is
// dropped; for one that may be a package as well ("python3.11"), both readings are returned, the whole name first.
func imageNames(s string) (repositories []string, tag string, err error) {
	if strings.Contains(s, "@") {
		return nil, "", fmt.Errorf("image %.300q: inspect takes a tag, not a digest", s)
	}
	if _, name, ok := strings.Cut(s, "://"); ok {
		return nil, "", fmt.Errorf("image %.300q: want no more than its name, %.300q", s, name)
	}
	repository, tag, tagged := oci.SplitTag(s)
	if !tagged {
		tag = oci.Latest
	}
	repositories = []string{repository}
	if host, rest, ok := strings.Cut(repository, "/"); ok {
		switch {
		case host == "localhost" || strings.Contains(host, ":"):
			repositories = []string{rest}
		case strings.Contains(host, "."):
			repositories = append(repositories, rest)
		}
	}
	if repositories[0] == "" || tag == "" {
		return nil, "", fmt.Errorf("image %.300q: want NAME or NAME:TAG", s)
	}
	return repositories, tag, nil
}

// parseImage reads NAME, NAME:TAG or NAME@DIGEST.
func parseImage(image string) (r server.Image, err error) {
	name, digest, byDigest := strings.Cut(image, "@")
	if byDigest {
		if r.Digest, err = v1.NewHash(digest); err != nil || r.Digest.Algorithm != "sha256" {
			return r, fmt.Errorf("image %.300q: want @sha256: and 64 hex digits", image)
		}
	}
	if r.Repositories, r.Tag, err = imageNames(name); err != nil {
		return r, err
	}
	if byDigest {
		if _, _, tagged := oci.SplitTag(name); tagged {
			return r, fmt.Errorf("image %.300q: want a tag or a digest, not both", image)
		}
		r.Tag = ""
	}
	return r, nil
}
