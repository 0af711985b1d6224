package channel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/nixreg/nixreg/store"
)

const (
	maxPaths = 2_000_000
	maxLine  = 1 << 10 // bytes
)

// pathList has the base names of a list of store paths, in the order of the file.
type pathList struct {
	texts
	skipped int // lines that are no paths of this store, or repeat one
}

// readPaths reads absolute store paths, one a line: outputs for every system that the channel was built for. Other lines, such as
// those of derivations, are skipped. A list without a path, or beyond the bounds, gives an error matching [fs.ErrInvalid]. Errors of r
// are returned as they are.
//
// Source: nixos-channel-scripts, mirror-nixos-branch.pl, which gets the list from Hydra's eval/…/store-paths.
func readPaths(r io.Reader) (*pathList, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	list := &pathList{}
	var blob []byte
	seen := make(map[[store.HashLen]byte]struct{})
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		if len(line) > maxLine {
			return nil, fmt.Errorf("line %d: longer than %d bytes: %w", number, maxLine, fs.ErrInvalid)
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			if p, ok := pathOf(line); !ok || !unseen(seen, p) {
				list.skipped++
			} else {
				blob = append(blob, p...)
				list.ends = append(list.ends, uint32(len(blob)))
			}
		}
		if len(list.ends) > maxPaths {
			return nil, fmt.Errorf("line %d: more than %d paths: %w", number, maxPaths, fs.ErrInvalid)
		}
		if err == io.EOF {
			break
		}
	}
	if len(list.ends) == 0 {
		return nil, fmt.Errorf("there is no path below %s in it: %w", store.Dir, fs.ErrInvalid)
	}
	list.blob = string(blob)
	return list, nil
}

// pathOf returns the path of a line, if it can be in an image.
func pathOf(line []byte) (store.Path, bool) {
	p, rest, err := store.ParseAbs(string(line))
	return p, err == nil && rest == "" && !strings.HasSuffix(string(p), ".drv")
}

// unseen reports whether this is the first path with its hash.
func unseen(seen map[[store.HashLen]byte]struct{}, p store.Path) bool {
	hash := [store.HashLen]byte([]byte(p.Hash()))
	if _, ok := seen[hash]; ok {
		return false
	}
	seen[hash] = struct{}{}
	return true
}

var errTooLong = errors.New("larger than allowed")

// bounded fails with errTooLong after left bytes. [io.LimitReader] would end instead.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
