package conformance_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// leftOut is what a data directory has for the process alone that uses it, or nothing of.
var leftOut = []string{"lock", "spool", "channels"}

// TestMakeOldData makes the data directory of commit 6603b5e, and the table of what it gave out, with the program that NIXREG
// names. Where they are, they stay. It does nothing unless NIXREG_MAKE_DATA=1.
func TestMakeOldData(t *testing.T) {
	if os.Getenv("NIXREG_MAKE_DATA") != "1" {
		t.Skip("changes the source: run with NIXREG_MAKE_DATA=1, as testdata/README.md says")
	}
	if os.Getenv("NIXREG") == "" {
		t.Fatal("what is kept must be that of an earlier program: NIXREG=FILE names it")
	}
	if exists(t, oldData) || exists(t, oldDataTable) {
		t.Fatalf("%s is there: it is made once", oldData)
	}
	in := newDataInputs(t)
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	rows := makeRoots(t, data) // first: it keeps no base images
	for _, encoding := range oldEncodings {
		c := newCrawl(in.server(t, data, encoding))
		c.ask(t, encoding)
		if encoding == oldEncodings[0] {
			c.askMirror(t)
		}
		rows = append(rows, c.rows...)
		c.stop(t)
	}
	table := "# Given out by commit 6603b5e, from the data directory beside this file; see README.md. Never edit it.\n"
	for _, r := range rows {
		table += r.String() + "\n"
	}
	if t.Failed() {
		return
	}
	writeInto(t, ".", oldData, packData(t, data))
	writeInto(t, ".", oldDataTable, []byte(table))
}

// packData makes an archive of a data directory, without the times of files and their owners.
func packData(t *testing.T, data string) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(data, func(name string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(data, name)
		if err = cmp.Or(err, relErr); err != nil || rel == "." {
			return err
		}
		if slices.Contains(leftOut, strings.Split(rel, "/")[0]) {
			return nil
		}
		return packEntry(w, name, rel)
	})
	if err = errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packEntry(w *tar.Writer, name, rel string) error {
	fi, err := os.Lstat(name)
	if err != nil {
		return err
	}
	target := ""
	if fi.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(fi, target)
	if err != nil {
		return err
	}
	h.Name, h.ModTime, h.AccessTime, h.ChangeTime = rel, time.Unix(0, 0), time.Time{}, time.Time{}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	if err := w.WriteHeader(h); err != nil || !fi.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
