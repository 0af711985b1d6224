// Package program finds the programs of store paths: the one that an image runs, and their architecture.
//
// It needs only a store. It must not know images.
package program

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

const (
	// DefaultArchitecture is the architecture of an image without programs. That of the host would change digests.
	DefaultArchitecture = "amd64"
	// maxPrograms bounds the files of one bin/ that are looked at.
	maxPrograms = 4096
)

// programs returns the names in the bin/ directory of p, sorted by bytes. It returns none if there is no such directory.
func programs(ctx context.Context, s store.Store, p store.Path) ([]string, error) {
	at, dir, err := store.Resolve(ctx, s, p.Abs()+"/bin")
	if errors.Is(err, fs.ErrNotExist) || err == nil && dir.Kind != store.Directory {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := s.Open(ctx, at)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var names []string
	for nd, err := range t.Nodes(ctx, dir.Name) {
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(nd.Name, dir.Name), "/")
		if name == "" || nd.Kind == store.Directory || strings.Contains(name, "/") {
			continue
		}
		if names = append(names, name); len(names) >= maxPrograms {
			break
		}
	}
	return names, nil
}

// executable returns the file to which bin/name of p resolves, and whether it is executable.
func executable(ctx context.Context, s store.Store, p store.Path, name string) (store.Path, store.Node, bool, error) {
	at, nd, err := store.Resolve(ctx, s, path.Join(p.Abs(), "bin", name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return at, nd, false, nil // a dangling link, or a link out of the store
	}
	return at, nd, err == nil && nd.Kind == store.Regular && nd.Executable, err
}

// Main returns the absolute path of the program that an image of contents runs: bin/<name>, or else the only program. If there is
// no such program, file is "" and note has the reason.
func Main(ctx context.Context, s store.Store, contents []store.Path, name string) (file, note string, err error) {
	var only []string
	for _, p := range contents {
		if name != "" {
			if _, _, ok, err := executable(ctx, s, p, name); err != nil || ok {
				return path.Join(p.Abs(), "bin", name), "", err
			}
		}
		names, err := programs(ctx, s, p)
		if err != nil {
			return "", "", err
		}
		for _, n := range names {
			if strings.HasPrefix(n, ".") || len(only) > 1 { // hidden programs belong to wrappers
				continue
			}
			if _, _, ok, err := executable(ctx, s, p, n); err != nil {
				return "", "", err
			} else if ok {
				only = append(only, path.Join(p.Abs(), "bin", n))
			}
		}
	}
	switch {
	case len(only) == 1:
		return only[0], "", nil
	case len(only) == 0:
		return "", "no program in bin", nil
	case name == "":
		return "", "several programs in bin", nil
	}
	return "", fmt.Sprintf("several programs in bin, none of them called %s", name), nil
}

// Architecture returns the architecture of the first program of contents, or else of the closure, in GOARCH's words. It is "" if
// there is no program. For a Mach-O program the error matches errors.ErrUnsupported.
func Architecture(ctx context.Context, s store.Store, contents []store.Path, closure []*store.Object) (string, error) {
	if arch, err := firstArchitecture(ctx, s, contents); err != nil || arch != "" {
		return arch, err
	}
	var others []store.Path
	for _, o := range closure {
		if !slices.Contains(contents, o.Path) {
			others = append(others, o.Path)
		}
	}
	return firstArchitecture(ctx, s, others)
}

// firstArchitecture returns the architecture of the first path that has one, or "".
func firstArchitecture(ctx context.Context, s store.Store, paths []store.Path) (string, error) {
	defer store.PrefetchWhile(ctx, s, paths)()
	for _, p := range paths {
		arch, err := store.Steady(func() (string, error) { return architectureOf(ctx, s, p) })
		if err != nil || arch != "" {
			return arch, err
		}
	}
	return "", nil
}

func architectureOf(ctx context.Context, s store.Store, p store.Path) (string, error) {
	names, err := programs(ctx, s, p)
	if err != nil {
		return "", err
	}
	for _, n := range names {
		at, nd, ok, err := executable(ctx, s, p, n)
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		b, err := store.ReadNode(ctx, s, at, nd, min(nd.Size, 20))
		if err != nil {
			return "", err
		}
		if machO(b) {
			return "", &macError{string(p) + "/bin/" + n}
		}
		if arch := elfArchitecture(b); arch != "" {
			return arch, nil
		}
	}
	return "", nil
}

// machine is an ELF machine with a GOARCH. bits 0 means both sizes, order nil both byte orders.
type machine struct {
	elf    uint16
	bits   int
	order  binary.ByteOrder
	goarch string
}

// machines are all machines with a GOARCH, sorted by it.
//
// Source: System V ABI, chapter 4; GOARCH names as the OCI image-spec asks for them.
var machines = []machine{
	{3, 0, nil, "386"},
	{62, 0, nil, "amd64"},
	{40, 0, binary.LittleEndian, "arm"},
	{183, 0, binary.LittleEndian, "arm64"},
	{258, 64, nil, "loong64"},
	{8, 32, binary.BigEndian, "mips"},
	{8, 64, binary.BigEndian, "mips64"},
	{8, 64, binary.LittleEndian, "mips64le"},
	{8, 32, binary.LittleEndian, "mipsle"},
	{21, 0, binary.BigEndian, "ppc64"},
	{21, 0, binary.LittleEndian, "ppc64le"},
	{243, 64, nil, "riscv64"},
	{22, 64, nil, "s390x"},
}

// Architectures returns all architectures of programs in GOARCH's words, sorted.
func Architectures() []string {
	all := make([]string, len(machines))
	for i, m := range machines {
		all[i] = m.goarch
	}
	return all
}

// IsArchitecture reports whether name is one of [Architectures].
func IsArchitecture(name string) bool {
	return slices.ContainsFunc(machines, func(m machine) bool { return m.goarch == name })
}

// elfArchitecture returns the GOARCH of an ELF header. It is "" for other files, and for machines without a GOARCH.
func elfArchitecture(b []byte) string {
	if len(b) < 20 || string(b[:4]) != "\x7fELF" {
		return ""
	}
	bits, order := 32, binary.ByteOrder(binary.BigEndian)
	if b[4] == 2 {
		bits = 64
	}
	if b[5] == 1 {
		order = binary.LittleEndian
	}
	elf := order.Uint16(b[18:])
	for _, m := range machines {
		if m.elf == elf && (m.bits == 0 || m.bits == bits) && (m.order == nil || m.order == order) {
			return m.goarch
		}
	}
	return ""
}

// macError is about a program for macOS. It matches errors.ErrUnsupported. Its text is public.
type macError struct{ program string }

func (e *macError) Error() string {
	return e.program + " is a program for macOS: only linux images can be made"
}
func (e *macError) Public() string       { return e.Error() }
func (e *macError) Is(target error) bool { return target == errors.ErrUnsupported }

// machO reports whether b starts a Mach-O program, thin or universal. Java classes have the magic of universal programs, and a
// version of 45 or more in place of the few architectures.
func machO(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	switch binary.BigEndian.Uint32(b) {
	case 0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe:
		return true
	case 0xcafebabe:
		return binary.BigEndian.Uint32(b[4:]) < 40
	}
	return false
}
