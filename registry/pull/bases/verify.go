package bases

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Verify compares the members of an archive with their names, which are their digests; the list of the image comes last.
func Verify(ctx context.Context, r io.Reader) error {
	whole, seen := false, make(map[string]bool)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && whole {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not a whole archive: %w", err)
		}
		seen[h.Name] = true
		if h.Name == "manifest.json" {
			whole, err = true, verifyList(tr, seen)
		} else {
			err = verifyMember(ctx, h, tr)
		}
		if err != nil {
			return err
		}
	}
}

// verifyList checks that the list of an archive names the members of one image, all of which come before.
func verifyList(r io.Reader, seen map[string]bool) error {
	const most = 1 << 20 // bytes
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	dec := json.NewDecoder(io.LimitReader(r, most))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil || len(list) != 1 {
		return fmt.Errorf("manifest.json is none of one image: %v", err)
	}
	for _, name := range append(list[0].Layers, list[0].Config) {
		if !seen[name] {
			return fmt.Errorf("manifest.json names %.100q, which is not there", name)
		}
	}
	return nil
}

func verifyMember(ctx context.Context, h *tar.Header, r io.Reader) error {
	const chunk = 4 << 20 // between two looks at the context
	name, suffix, _ := strings.Cut(h.Name, ".")
	if h.Typeflag != tar.TypeReg || len(name) != 2*sha256.Size || suffix != "tar" && suffix != "json" {
		return nil
	}
	sum := sha256.New()
	for left := h.Size; left > 0; left -= chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(sum, r, min(left, chunk)); err != nil {
			return fmt.Errorf("not a whole archive: %w", err)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != name {
		return fmt.Errorf("member %s has the bytes of %s", h.Name, got)
	}
	return nil
}
