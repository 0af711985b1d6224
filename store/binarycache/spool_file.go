package binarycache

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/store"
)

const (
	narSuffix  = ".nar"
	tempPrefix = "tmp-"

	// orderPrecision is how much a file's time may lie behind its last use, so that few are touched.
	orderPrecision = time.Minute
)

// narKey is the name of a file of the spool.
type narKey struct {
	part [20]byte // the hash part
	hash store.Hash
}

func keyOf(id archiveID) narKey {
	k := narKey{hash: id.hash}
	part, err := store.DecodeBase32(id.path.Hash())
	if err != nil || len(part) != len(k.part) {
		panic("a store path with a bad hash part: " + string(id.path)) // no way to make one
	}
	copy(k.part[:], part)
	return k
}

func (k narKey) fileName() string {
	return store.EncodeBase32(k.part[:]) + "-" + store.EncodeBase32(k.hash[:]) + narSuffix
}

// parseFileName is the inverse of fileName.
func parseFileName(name string) (k narKey, ok bool) {
	base, ok := strings.CutSuffix(name, narSuffix)
	part, hash, cut := strings.Cut(base, "-")
	if !ok || !cut {
		return k, false
	}
	p, err := store.DecodeBase32(part)
	if err != nil || len(p) != len(k.part) {
		return k, false
	}
	h, err := store.DecodeBase32(hash)
	if err != nil || len(h) != len(k.hash) {
		return k, false
	}
	return narKey{[20]byte(p), store.Hash(h)}, true
}

// spoolFile is one file of the spool. Guarded by Spool.mu.
type spoolFile struct {
	key   narKey
	size  int64
	used  int64           // the last time, in nanoseconds since 1970
	saved int64           // the same, as the file's own time tells it to the next process
	state filestamp.Stamp // as this process verified it; zero if it did not
	open  *archive        // nil while it is not open
	ahead *aheadPlan      // that fetched it; nil once it was used
	gone  bool

	pins int           // reasons to keep it
	at   *list.Element // in Spool.lru; nil while there are pins
}

// openDir makes the directory and takes in what lies there.
func (s *Spool) openDir() error {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "nixreg-nar-")
		s.dir, s.private = dir, true
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var found []*spoolFile
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
			continue
		}
		if f := lookAt(e); f != nil {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b *spoolFile) int { return cmp.Compare(a.used, b.used) })
	for _, e := range found {
		s.add(e)
		if e.size > s.limit {
			s.discard(e)
			continue
		}
		e.at = s.lru.PushFront(e)
	}
	s.evict()
	return nil
}

// KeptArchives lists the files of a spool's directory, each with the SHA-256 that its bytes should have. An absent directory
// has none. It is for those who look while no process has the spool open.
func KeptArchives(dir string) (map[string][sha256.Size]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("spool: %w", err)
	}
	kept := make(map[string][sha256.Size]byte)
	for _, e := range entries {
		if key, ok := parseFileName(e.Name()); ok {
			kept[filepath.Join(dir, e.Name())] = key.hash
		}
	}
	return kept, nil
}

// lookAt returns what an entry of the directory is; nil if it is none of ours.
func lookAt(e fs.DirEntry) *spoolFile {
	key, ok := parseFileName(e.Name())
	if !ok || !e.Type().IsRegular() {
		return nil
	}
	fi, err := e.Info()
	if err != nil {
		return nil // gone meanwhile
	}
	return &spoolFile{key: key, size: fi.Size(), used: fi.ModTime().UnixNano(), saved: fi.ModTime().UnixNano()}
}

func (s *Spool) file(k narKey) string { return filepath.Join(s.dir, k.fileName()) }

// add makes a file known.
func (s *Spool) add(e *spoolFile) {
	s.files[e.key] = e
	s.size += s.counted(e.size)
}

// counted is what a file of n bytes counts for: one that is larger than all there may be does not push out the rest.
func (s *Spool) counted(n int64) int64 {
	if n > s.limit {
		return 0
	}
	return n
}

func (s *Spool) pin(e *spoolFile) {
	if e.pins++; e.at != nil {
		s.lru.Remove(e.at)
		e.at = nil
	}
	s.large.take(e)
}

func (s *Spool) unpin(e *spoolFile) {
	if e.pins--; e.pins > 0 || e.gone {
		return
	}
	if e.size > s.limit {
		s.keepLarge(e)
		return
	}
	e.at = s.lru.PushFront(e)
	s.evict()
}

func (s *Spool) evict() {
	for s.size > s.limit && s.lru.Len() > 0 {
		s.discard(s.lru.Back().Value.(*spoolFile))
	}
}

// makeRoom removes files that nobody needs, at least n bytes of them if there are as many, and reports whether it found any.
func (s *Spool) makeRoom(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var freed int64
	if e := s.large.file; e != nil {
		freed += e.size
		s.discard(e)
	}
	for freed < n && s.lru.Len() > 0 {
		e := s.lru.Back().Value.(*spoolFile)
		freed += e.size
		s.discard(e)
	}
	return freed > 0
}

// discard removes a file. An archive in use stays readable.
func (s *Spool) discard(e *spoolFile) {
	if e.gone {
		return
	}
	e.gone = true
	delete(s.files, e.key)
	s.size -= s.counted(e.size)
	if e.at != nil {
		s.lru.Remove(e.at)
		e.at = nil
	}
	s.large.take(e)
	s.usedAhead(e)
	if a := e.open; a != nil {
		e.open = nil
		if a.uses == 0 {
			s.shut(a)
		}
	}
	if err := os.Remove(s.file(e.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("spool: file cannot be removed", "err", err)
	}
}

// spoiled discards a file that is not what was verified.
func (s *Spool) spoiled(e *spoolFile, how string) {
	if !e.gone {
		s.log.Warn("spool: archive is fetched again", "file", s.file(e.key), "because", how)
		s.discard(e)
	}
}

// saveOrder writes the times of last use for the next process. It is done at the end only: a file that is touched looks
// changed. After a kill the order is that of first uses.
func (s *Spool) saveOrder() error {
	var errs []error
	for _, e := range s.files {
		if e.pins > 0 || e.used-e.saved < int64(orderPrecision) {
			continue
		}
		used := time.Unix(0, e.used)
		if err := os.Chtimes(s.file(e.key), used, used); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("spool: %d files cannot be touched: %w", len(errs), errs[0])
	}
	return nil
}
