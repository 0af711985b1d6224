package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// Header is what a regular file in a tar archive says of itself.
type Header struct {
	Name         string
	Mode         int64 // the permissions
	UID, GID     int64
	Uname, Gname string
	MTime        int64 // Unix seconds
	Size         int64 // bytes
}

// Append appends the header blocks as Python's tarfile writes them in its PAX format.
func (h Header) Append(b []byte) []byte {
	entry := header{
		name: h.Name, mode: h.Mode, uid: h.UID, gid: h.GID, uname: h.Uname, gname: h.Gname,
		mtime: h.MTime, size: h.Size, typ: typeRegular,
	}
	return entry.appendPAX(b)
}

// ArchiveEnd is how many zeros end an archive of n bytes of members, for its length to be what Python's tarfile and GNU
// tar make it.
func ArchiveEnd(n int64) int64 { return 2*blockSize + padding(n+2*blockSize, recordSize) }

// MemberEnd is how many zeros follow n bytes of a member.
func MemberEnd(n int64) int64 { return padding(n, blockSize) }

// Headers reads the archive again and returns the headers of the members called names, in their order. A member that is a
// link, or is not there, has none: the zero value.
func (a *Archive) Headers(ctx context.Context, names []string) ([]Header, error) {
	wanted := make(map[string]int, len(names))
	for i, name := range names {
		wanted[path.Clean(name)] = i
	}
	found := make([]Header, len(names))
	err := a.eachHeader(ctx, func(h *tar.Header) {
		i, ok := wanted[path.Clean(h.Name)]
		if !ok {
			return
		}
		found[i] = Header{} // of several members the last one counts
		if h.Typeflag == tar.TypeReg {
			found[i] = Header{
				Name: h.Name, Mode: h.Mode & 0o7777, UID: int64(h.Uid), GID: int64(h.Gid), Uname: h.Uname, Gname: h.Gname,
				MTime: h.ModTime.Unix(), Size: h.Size,
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.ref.Path, err)
	}
	for i, name := range names { // one that is listed twice
		found[i] = found[wanted[path.Clean(name)]]
	}
	return found, nil
}

func (a *Archive) eachHeader(ctx context.Context, each func(*tar.Header)) error {
	t, err := a.maker.Store.Open(ctx, a.in.at)
	if err != nil {
		return err
	}
	defer t.Close()
	var r io.Reader = &nodeReader{ctx: ctx, tree: t, node: a.in.node}
	if a.in.compression != "" {
		z, err := a.in.compression.open(r, nil)
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	}
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return invalid(err)
		}
		if n == maxMembers {
			return fmt.Errorf("more than %d members: %w", maxMembers, fs.ErrInvalid)
		}
		each(h)
	}
}
