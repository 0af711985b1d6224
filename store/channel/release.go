package channel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// release is the result of one read of a channel. It is never changed.
type release struct {
	*index
	state    string // hash of the index: the same for the same files
	location string // that of the channel
	seen     marks
}

// marks are the ETags of the files that were read; "" if the server gave none.
type marks struct {
	paths    string
	packages string // absent if there was no such file
}

// absent cannot be an ETag, because ETags are quoted.
const absent = "absent"

// savedFormat is the first line of a saved release. Four strings, the index, and the SHA-256 of all that follow. A string follows its
// length, four bytes in little endian. savedFormat1 is the line of earlier versions, whose index has no kinds.
const (
	savedFormat  = "nixreg channel index 2\n"
	savedFormat1 = "nixreg channel index 1\n"
)

// unfinished is the suffix of a file that is being saved.
const unfinished = ".new"

const (
	maxSaved = 1 << 30 // bytes
	maxMark  = 8 << 10
)

// newRelease returns the release of x, and x encoded.
func newRelease(x *index, location string, seen marks) (*release, []byte) {
	b := x.encode()
	sum := sha256.Sum256(b)
	return &release{index: x, state: hex.EncodeToString(sum[:16]), location: location, seen: seen}, b
}

// save writes r to the file name, whose folder exists. After an error or a kill, name is as it was or complete.
func (r *release) save(name string, encoded []byte) error {
	var head bytes.Buffer
	head.WriteString(savedFormat)
	for _, s := range []string{r.state, r.location, r.seen.paths, r.seen.packages} {
		binary.Write(&head, binary.LittleEndian, uint32(len(s)))
		head.WriteString(s)
	}
	hash := sha256.New()
	hash.Write(head.Bytes())
	hash.Write(encoded)
	f, err := os.OpenFile(name+unfinished, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{head.Bytes(), encoded, hash.Sum(nil)} {
		if _, err = f.Write(part); err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// load reads a file that save wrote. A damaged file, or one of another format, gives an error matching errDamaged.
func load(name string) (*release, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSaved || info.Size() < sha256.Size {
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), errDamaged)
	}
	hash := sha256.New()
	var text strings.Builder // not []byte: the index refers to parts of it, without a copy
	text.Grow(int(info.Size()) - sha256.Size)
	if _, err := io.CopyN(io.MultiWriter(&text, hash), f, info.Size()-sha256.Size); err != nil {
		return nil, err
	}
	sum := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, sum); err != nil {
		return nil, err
	}
	if !bytes.Equal(sum, hash.Sum(nil)) {
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), errDamaged)
	}
	return parseRelease(text.String())
}

func parseRelease(s string) (*release, error) {
	format := 2
	rest, ok := strings.CutPrefix(s, savedFormat)
	if !ok {
		format = 1
		rest, ok = strings.CutPrefix(s, savedFormat1)
	}
	if !ok {
		return nil, fmt.Errorf("%w: unknown format", errDamaged)
	}
	r := &release{}
	for _, field := range []*string{&r.state, &r.location, &r.seen.paths, &r.seen.packages} {
		if len(rest) < 4 {
			return nil, errDamaged
		}
		size := binary.LittleEndian.Uint32([]byte(rest[:4]))
		if size > maxMark || int(size) > len(rest)-4 {
			return nil, errDamaged
		}
		*field, rest = strings.Clone(rest[4:4+size]), rest[4+size:]
	}
	var err error
	r.index, err = decode(rest, format)
	if format == 1 {
		r.seen = marks{} // it is read again
	}
	return r, err
}
